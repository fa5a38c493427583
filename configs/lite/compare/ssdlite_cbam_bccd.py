"""Comparison in light (paper, Table 1): the upgraded SSD."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'
