"""RetinaNet in light: ResNet18, 128 channels, two convolutions before the predictions; BatchNorm for scratch."""

_base_ = './retinanet_r50_fpn.py'

channels = 128
norm = dict(type='BN')

model = dict(
    backbone=dict(depth=18, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=channels, norm_cfg=norm),
    # One BatchNorm a level: levels share convolutions, not statistics.
    bbox_head=dict(
        type='RetinaSepBNHead',
        num_ins=5,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        norm_cfg=norm))
