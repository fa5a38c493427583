"""ResNet34."""

_base_ = './cell_resnet18.py'

model = dict(backbone=dict(depth=34))
