"""EfficientDet-D0 (Tan et al. 2020, sections 3 to 5.1): three BiFPN layers of 64 channels, heads of three convolutions.

Anchors from 16 px, as cells are small (the paper's are for images of 512 px, the library's from 32 px). The paper gives no
weight of the box loss; its own training (SGD, 300 epochs) gives way to that of the comparison.
"""

_base_ = './box_selection.py'

channels = 64
norm = dict(type='BN', momentum=0.01, eps=0.001)  # "decay 0.99" (5.1)

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),  # BiFPN takes any size
    backbone=dict(
        type='EfficientNet',
        arch='b0',
        out_indices=(3, 4, 5),
        drop_path_rate=0.2,
        conv_cfg=None,  # as torchvision builds it, so that its weights give the same numbers
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True),
        init_cfg=dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://efficientnet_b0')),
    neck=dict(
        type='ctc_mm.BiFPN',
        in_channels=(40, 112, 320),
        out_channels=channels,
        num_outs=5,
        num_layers=3,
        norm_cfg=norm),
    bbox_head=dict(
        type='ctc_mm.EfficientDetHead',
        num_classes=2,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=3,
        norm_cfg=norm,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=2,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=1.5, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.1, loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0, ignore_iof_thr=0.5),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False),
    test_cfg=dict(nms_pre=4000, min_bbox_size=0, **_base_.box_selection))
