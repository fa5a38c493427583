"""Ablation in light (paper, Table 2): CBAM on the first four levels."""

_base_ = '../ssdlite_mobilenetv2_bccd.py'

model = dict(neck=[_base_.model.neck, _base_.attention])
