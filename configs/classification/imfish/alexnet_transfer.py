"""AlexNet from ImageNet's weights on imFISH nuclei at 224 px (imfish-cnn-2022)."""

_base_ = './alexnet_scratch.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://alexnet')
# All but the last layer.
model = dict(backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))
