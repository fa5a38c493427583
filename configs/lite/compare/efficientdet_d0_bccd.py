"""Comparison in light (paper, Table 1): EfficientDet-D0 from scratch."""

_base_ = ['../../_base_/models/efficientdet_d0.py', '../../_base_/light_bccd.py']

model = dict(backbone=dict(drop_path_rate=0.0, init_cfg=None), bbox_head=dict(num_classes=_base_.num_classes))
