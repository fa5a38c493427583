"""VGG16 with global pooling in the place of its fully connected layers: a tenth of the weights, for small inputs."""

_base_ = './cell_resnet18.py'

model = dict(backbone=dict(_delete_=True, type='VGG', depth=16), head=dict(in_channels=512))
