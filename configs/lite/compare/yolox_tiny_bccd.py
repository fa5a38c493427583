"""Comparison in light: YOLOX-tiny from scratch, today's YOLO in the place of the paper's."""

_base_ = ['../../_base_/models/yolox_tiny.py', '../../_base_/light_bccd.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
