"""YOLOX-s (Ge et al. 2021): no anchors, SimOTA assignment."""

_base_ = './box_selection.py'

norm = dict(type='BN', momentum=0.03, eps=0.001)
swish = dict(type='Swish')
cross_entropy = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum', loss_weight=1.0)

model = dict(
    type='YOLOX',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),  # BGR, 0-255, as its weights expect
    backbone=dict(
        type='CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.5,
        out_indices=(2, 3, 4),
        norm_cfg=norm,
        act_cfg=swish,
        # There is no backbone trained on ImageNet; this one saw COCO's boxes.
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/yolox/yolox_s_8x8_300e_coco/'
            'yolox_s_8x8_300e_coco_20211121_095711-4592a793.pth')),
    neck=dict(
        type='YOLOXPAFPN',
        in_channels=[128, 256, 512],
        out_channels=128,
        num_csp_blocks=1,
        norm_cfg=norm,
        act_cfg=swish),
    bbox_head=dict(
        type='YOLOXHead',
        num_classes=2,
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=(8, 16, 32),
        norm_cfg=norm,
        act_cfg=swish,
        loss_cls=cross_entropy,
        loss_obj=cross_entropy,
        loss_bbox=dict(type='IoULoss', mode='square', eps=1e-16, reduction='sum', loss_weight=5.0),
        loss_l1=dict(type='L1Loss', reduction='sum', loss_weight=1.0)),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    test_cfg=_base_.box_selection)
