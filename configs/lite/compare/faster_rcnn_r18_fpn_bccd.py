"""Comparison in light (paper, Table 1): Faster R-CNN on ResNet18 from scratch."""

_base_ = ['../../_base_/models/faster_rcnn_r18_fpn.py', '../../_base_/light_bccd.py']

model = dict(roi_head=dict(bbox_head=dict(num_classes=_base_.num_classes)))
