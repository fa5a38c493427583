"""AlexNet with its fully connected layers, of any input size; at 224 px it is torchvision's."""

_base_ = './cell_resnet18.py'

model = dict(
    backbone=dict(_delete_=True, type='ctc_mm.AlexNet'),
    neck=dict(_delete_=True, type='ctc_mm.PoolFlatten', output_size=6),
    head=dict(type='StackedLinearClsHead', in_channels=256 * 6 * 6, mid_channels=(4096, 4096), dropout_rate=0.5))
