"""Ablation (paper, Table 2): SSD with feature fusion of the first three levels."""

_base_ = './ssd.py'

model = dict(neck=[_base_.model.neck, _base_.fusion])
