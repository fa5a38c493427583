"""Ablation (paper, Table 2): plain SSD300-VGG16."""

_base_ = '../_base_/ssd300_ctc.py'
