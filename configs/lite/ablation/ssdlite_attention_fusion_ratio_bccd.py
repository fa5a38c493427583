"""Ablation in light (paper, Table 2): the full model, negatives to positives 1.2."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

model = dict(train_cfg=dict(neg_pos_ratio=1.2))
