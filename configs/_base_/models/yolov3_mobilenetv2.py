"""YOLOv3 in light: on MobileNetV2, 96 channels a level."""

_base_ = './yolov3_d53.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        act_cfg=dict(type='LeakyReLU', negative_slope=0.1)),
    neck=dict(in_channels=[320, 96, 32], out_channels=[96, 96, 96]),
    bbox_head=dict(in_channels=[96, 96, 96], out_channels=[96, 96, 96]))
