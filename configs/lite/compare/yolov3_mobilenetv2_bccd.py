"""Comparison in light (paper, Table 1): YOLOv3 on MobileNetV2 from scratch."""

_base_ = ['../../_base_/models/yolov3_mobilenetv2.py', '../../_base_/light_bccd.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
