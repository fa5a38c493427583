"""SSDLite on MobileNetV2 at 320 px for the CPU, from stride 8 on, since cells are small (paper 3.1)."""

levels = (32, 96, 1280, 512, 256, 256)  # channels of the six levels, finest first
norm = dict(type='BN', eps=0.001, momentum=0.03)

# What the upgraded SSD adds to the neck (paper 2.6.2).
attention = dict(type='ctc_mm.CBAMNeck', in_channels=levels)
fusion = dict(
    type='ctc_mm.TransposedConvFusionNeck', in_channels=levels, deconv_channels=(32, 64, 128), norm_cfg=norm)

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(
        type='MobileNetV2',
        out_indices=(2, 4, 7),
        norm_cfg=norm,
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    neck=dict(
        type='SSDNeck',
        in_channels=levels[:3],
        out_channels=levels,
        level_strides=(2, 2, 2),
        level_paddings=(1, 1, 1),
        l2_norm_scale=None,
        use_depthwise=True,
        norm_cfg=norm,
        act_cfg=dict(type='ReLU6'),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    bbox_head=dict(
        type='ctc_mm.CTCSSDHead',
        in_channels=levels,
        num_classes=2,
        use_depthwise=True,
        norm_cfg=norm,
        act_cfg=dict(type='ReLU6'),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.001),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64, 107, 160],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            min_sizes=[16, 40, 76, 124, 184, 248],
            max_sizes=[40, 76, 124, 184, 248, 312]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[.0, .0, .0, .0],
            target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.,
            ignore_iof_thr=-1,  # the head leaves ignore regions out by itself
            gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        mining='batch',
        blank_negatives=100,
        ignore_iof_thr=0.5,
        debug=False),
    test_cfg=dict(
        nms_pre=4000,
        nms=dict(type='nms', iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=1000))
