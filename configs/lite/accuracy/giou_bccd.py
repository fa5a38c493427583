"""Accuracy in light: GIoU of decoded boxes (Rezatofighi et al. 2019) in place of smooth-L1 on offsets."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(bbox_head=dict(loss_bbox=dict(type='GIoULoss', loss_weight=2.0)))
