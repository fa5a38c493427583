"""Ablation (paper, Table 2): SSD with CBAM, then feature fusion; negatives to positives still 3."""

_base_ = './ssd.py'

model = dict(neck=[_base_.model.neck, _base_.attention, _base_.fusion])
