"""AlexNet from ImageNet's weights on imFISH nuclei at 64 px (imfish-cnn-2022)."""

_base_ = './alexnet_scratch_64.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://alexnet')
model = dict(backbone=dict(init_cfg=weights))
