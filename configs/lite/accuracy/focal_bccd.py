"""Accuracy in light: a focal loss over all priors (Lin et al. 2017) in place of mined negatives."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(train_cfg=dict(mining='all', focal_gamma=2.0))
