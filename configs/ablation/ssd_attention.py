"""Ablation (paper, Table 2): SSD with CBAM on the first four levels."""

_base_ = './ssd.py'

model = dict(neck=[_base_.model.neck, _base_.attention])
