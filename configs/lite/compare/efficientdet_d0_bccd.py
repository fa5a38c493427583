"""Comparison in light (paper, Table 1): EfficientDet-D0 from scratch.

A thousand steps are few for statistics that take a hundredth of each batch (paper, 5.1): three hundredths here.
"""

_base_ = ['../../_base_/models/efficientdet_d0.py', '../../_base_/light_bccd.py']

norm = dict(momentum=0.03)
model = dict(
    backbone=dict(drop_path_rate=0.0, init_cfg=None),
    neck=dict(norm_cfg=norm),
    bbox_head=dict(num_classes=_base_.num_classes, norm_cfg=norm))
