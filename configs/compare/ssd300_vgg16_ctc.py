"""Comparison (paper, Table 1): plain SSD300-VGG16."""

_base_ = '../ablation/ssd.py'
