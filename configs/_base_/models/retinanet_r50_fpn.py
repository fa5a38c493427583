"""RetinaNet on ResNet50 with FPN; anchors from 16 px, as cells are small (library: 32 px, for images of 800 px)."""

_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './box_selection.py']

model = dict(
    data_preprocessor=dict(pad_size_divisor=1),  # FPN takes any size
    backbone=dict(frozen_stages=-1),  # as the SSD's: what is frozen, and until when, is the schedule's
    bbox_head=dict(anchor_generator=dict(octave_base_scale=2)),
    train_cfg=dict(assigner=dict(ignore_iof_thr=0.5)),
    test_cfg=dict(nms_pre=4000, **_base_.box_selection))
