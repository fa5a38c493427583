"""Accuracy in light: hard negatives mined image by image, as in SSD's own paper, not over the whole batch."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(train_cfg=dict(mining='image'))
