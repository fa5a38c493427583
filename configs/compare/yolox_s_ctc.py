"""Comparison: YOLOX-s, today's YOLO beside the paper's."""

_base_ = ['../_base_/models/yolox_s.py', '../_base_/compare_ctc.py']

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
