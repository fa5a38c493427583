"""Comparison (paper, Table 1): RetinaNet on ResNet50 with FPN."""

_base_ = ['../_base_/models/retinanet_r50_fpn.py', '../_base_/compare_ctc.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
