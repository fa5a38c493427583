"""ResNet18 of half the width, a quarter of the work: for single cells on a CPU, from scratch."""

_base_ = './cell_resnet18.py'

model = dict(backbone=dict(stem_channels=32, base_channels=32), head=dict(in_channels=256))
