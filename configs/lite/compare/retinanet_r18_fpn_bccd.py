"""Comparison in light (paper, Table 1): RetinaNet on ResNet18 from scratch."""

_base_ = [
    '../../_base_/models/retinanet_r18_fpn.py', '../../_base_/datasets/bccd_320.py', '../../_base_/schedules/adamw_cosine_24e.py',
    '../../_base_/default_runtime.py'
]

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
