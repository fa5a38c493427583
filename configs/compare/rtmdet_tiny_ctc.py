"""Comparison: RTMDet-tiny, the modern bar."""

_base_ = ['../_base_/models/rtmdet_tiny.py', '../_base_/compare_ctc.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
