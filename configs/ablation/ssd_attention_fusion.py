"""Ablation (paper, Table 2): SSD with CBAM, then feature fusion; negatives to positives still 3."""

_base_ = './ssd.py'

model = dict(neck=[
    _base_.model.neck,
    dict(type='ctc_mm.CBAMNeck', in_channels=_base_.levels),
    dict(type='ctc_mm.TransposedConvFusionNeck', in_channels=_base_.levels),
])
