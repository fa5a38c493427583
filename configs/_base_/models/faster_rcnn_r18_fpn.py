"""Faster R-CNN in light: ResNet18, FPN from stride 8 on (as the light SSD), 128 channels, fewer proposals.

scales=3 meets 97 % of BCCD's boxes with an anchor of IoU 0.5 or more at 320 px, 2 only 71 to 86 % (tools/fit_anchors.py).
"""

_base_ = './faster_rcnn_r50_fpn.py'

channels = 128
norm = dict(type='BN')  # it is trained: from scratch there are no statistics to keep

model = dict(
    backbone=dict(depth=18, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=channels, start_level=1, num_outs=4, norm_cfg=norm),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[3], strides=[8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, featmap_strides=[8, 16, 32]),
        bbox_head=dict(in_channels=channels, fc_out_channels=256)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)))
