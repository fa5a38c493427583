"""Comparison (paper, Table 1): the upgraded SSD, the paper's full model."""

_base_ = '../ssd_cbam_vgg16_ctc.py'
