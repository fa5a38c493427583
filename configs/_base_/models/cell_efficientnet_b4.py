"""EfficientNet-B4 as torchvision builds it, so that its weights give the same numbers."""

_base_ = './cell_resnet18.py'

model = dict(
    backbone=dict(_delete_=True, type='EfficientNet', arch='b4', conv_cfg=None, norm_cfg=dict(type='BN')),
    head=dict(in_channels=1792))
