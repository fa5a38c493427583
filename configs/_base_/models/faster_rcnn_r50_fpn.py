"""Faster R-CNN on ResNet50 with FPN; anchors from 16 px, as cells are small (library: 32 px, for images of 800 px)."""

_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './box_selection.py']

model = dict(
    data_preprocessor=dict(pad_size_divisor=1),  # FPN takes any size
    backbone=dict(frozen_stages=-1),  # as the SSD's: what is frozen, and until when, is the schedule's
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    train_cfg=dict(rpn=dict(assigner=dict(ignore_iof_thr=0.5)), rcnn=dict(assigner=dict(ignore_iof_thr=0.5))),
    test_cfg=dict(rcnn=_base_.box_selection))
