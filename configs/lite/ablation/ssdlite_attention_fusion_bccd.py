"""Ablation in light (paper, Table 2): CBAM, then feature fusion; negatives to positives still 3."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'
