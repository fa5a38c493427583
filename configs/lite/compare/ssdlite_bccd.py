"""Comparison in light (paper, Table 1): plain SSDLite in the place of SSD300."""

_base_ = '../ssdlite_mobilenetv2_bccd.py'
