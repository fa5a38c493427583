"""ResNet50 from ImageNet's weights, all of it trained, cells at 34 px: the option of label-free-resnet-2020."""

_base_ = './resnet50_frozen.py'

model = dict(backbone=dict(frozen_stages=-1, norm_eval=False))
