"""Comparison (paper, Table 1): Faster R-CNN on ResNet50 with FPN."""

_base_ = ['../_base_/models/faster_rcnn_r50_fpn.py', '../_base_/compare_ctc.py']

model = dict(roi_head=dict(bbox_head=dict(num_classes=_base_.num_classes)))
