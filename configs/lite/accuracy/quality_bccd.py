"""Accuracy in light: scores learn how well boxes fit (quality-aware targets, Li et al. 2020, 3.1)."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(train_cfg=dict(quality_targets=True))
