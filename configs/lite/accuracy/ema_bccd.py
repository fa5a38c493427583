"""Accuracy in light: a running average of the weights, over about one epoch, is what is validated and kept."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

custom_hooks = [*_base_.custom_hooks, dict(type='ctc_mm.EpochEMAHook', epochs=1.0)]
