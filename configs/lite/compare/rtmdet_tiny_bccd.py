"""Comparison in light: RTMDet-tiny from scratch, the modern bar."""

_base_ = ['../../_base_/models/rtmdet_tiny.py', '../../_base_/light_bccd.py']

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=_base_.num_classes))
