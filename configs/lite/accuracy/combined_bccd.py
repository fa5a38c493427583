"""Accuracy in light: averaged weights, fitted anchors and GIoU together."""

_base_ = './fitted_anchors_bccd.py'

custom_hooks = [*_base_.custom_hooks, dict(type='ctc_mm.EpochEMAHook', epochs=1.0)]
model = dict(bbox_head=dict(loss_bbox=dict(type='GIoULoss', loss_weight=2.0)))
