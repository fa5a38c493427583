"""Comparison in light (paper, Table 1): YOLOv3 on MobileNetV2 from scratch."""

_base_ = [
    '../../_base_/models/yolov3_mobilenetv2.py', '../../_base_/datasets/bccd_320.py', '../../_base_/schedules/adamw_cosine_24e.py',
    '../../_base_/default_runtime.py'
]

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
