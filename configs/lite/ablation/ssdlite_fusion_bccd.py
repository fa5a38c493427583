"""Ablation in light (paper, Table 2): feature fusion of the first three levels."""

_base_ = '../ssdlite_mobilenetv2_bccd.py'

model = dict(neck=[_base_.model.neck, _base_.fusion])
