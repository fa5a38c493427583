"""Accuracy in light: priors that overlap a cell by 0.4 to 0.5 are neither cell nor background."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(train_cfg=dict(assigner=dict(neg_iou_thr=0.4)))
