"""Plain SSD300 on VGG16 with the paper's anchors: six min sizes 21, 45, 99, 153, 207, 261 and the last max size 315.

They equal MMDetection's SSD300-COCO anchors (basesize_ratio_range=(0.15, 0.9)), which are inherited.
"""

_base_ = 'mmdet::_base_/models/ssd300.py'

levels = (512, 1024, 512, 256, 256, 256)  # channels of the six levels, finest first
# What the upgraded SSD adds to the neck (paper 2.6.2).
attention = dict(type='ctc_mm.CBAMNeck', in_channels=levels)
fusion = dict(type='ctc_mm.TransposedConvFusionNeck', in_channels=levels)

model = dict(
    # torchvision's weights expect RGB in units of ImageNet's spread.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    # All 13 convolutions, and fc6/fc7 as dilated ones, or an error. A local file or one's own VGG16 works too.
    backbone=dict(init_cfg=dict(_delete_=True, type='ctc_mm.PretrainedVGG', checkpoint='torchvision://vgg16')),
    bbox_head=dict(type='ctc_mm.CTCSSDHead'),
    train_cfg=dict(neg_pos_ratio=3, mining='batch', blank_negatives=100, ignore_iof_thr=0.5),
    # The paper's threshold and NMS; caps that do not truncate dense fields.
    test_cfg=dict(nms_pre=4000, score_thr=0.02, nms=dict(type='nms', iou_threshold=0.45), max_per_img=1000))
