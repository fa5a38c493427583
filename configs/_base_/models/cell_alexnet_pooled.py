"""AlexNet with global pooling in the place of its fully connected layers, for small inputs."""

_base_ = './cell_resnet18.py'

model = dict(backbone=dict(_delete_=True, type='ctc_mm.AlexNet'), head=dict(in_channels=256))
