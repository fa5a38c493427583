"""Comparison (paper, Table 1): EfficientDet-D0."""

_base_ = ['../_base_/models/efficientdet_d0.py', '../_base_/compare_ctc.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
