"""Ablation in light (paper, Table 2): plain SSDLite."""

_base_ = '../ssdlite_mobilenetv2_bccd.py'
