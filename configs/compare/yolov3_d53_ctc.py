"""Comparison (paper, Table 1): YOLOv3 on Darknet53."""

_base_ = ['../_base_/models/yolov3_d53.py', '../_base_/compare_ctc.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
