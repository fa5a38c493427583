"""YOLOv3 on Darknet53 (Redmon & Farhadi 2018), with the library's anchors and losses."""

_base_ = './box_selection.py'

widths = [1024, 512, 256]  # channels of backbone levels and head, coarsest first
neck_widths = [512, 256, 128]
cross_entropy = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum')

model = dict(
    type='YOLOV3',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0, 0, 0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True, pad_size_divisor=32),
    backbone=dict(
        type='Darknet',
        depth=53,
        out_indices=(3, 4, 5),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://darknet53')),
    neck=dict(type='YOLOV3Neck', num_scales=3, in_channels=widths, out_channels=neck_widths),
    bbox_head=dict(
        type='YOLOV3Head',
        num_classes=2,
        in_channels=neck_widths,
        out_channels=widths,
        featmap_strides=[32, 16, 8],
        anchor_generator=dict(
            type='YOLOAnchorGenerator',
            strides=[32, 16, 8],
            base_sizes=[[(116, 90), (156, 198), (373, 326)], [(30, 61), (62, 45), (59, 119)],
                        [(10, 13), (16, 30), (33, 23)]]),
        bbox_coder=dict(type='YOLOBBoxCoder'),
        loss_cls=dict(**cross_entropy, loss_weight=1.0),
        loss_conf=dict(**cross_entropy, loss_weight=1.0),
        loss_xy=dict(**cross_entropy, loss_weight=2.0),
        loss_wh=dict(type='MSELoss', reduction='sum', loss_weight=2.0)),
    train_cfg=dict(assigner=dict(type='GridAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)),
    test_cfg=dict(nms_pre=4000, min_bbox_size=0, conf_thr=0.005, **_base_.box_selection))
