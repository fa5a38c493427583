"""Comparison in light (paper, Table 1): RetinaNet on ResNet18 from scratch."""

_base_ = ['../../_base_/models/retinanet_r18_fpn.py', '../../_base_/light_bccd.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
