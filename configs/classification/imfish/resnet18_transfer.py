"""ResNet18 from ImageNet's weights on imFISH nuclei at 224 px (imfish-cnn-2022)."""

_base_ = './resnet18_scratch.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://resnet18')
model = dict(backbone=dict(init_cfg=weights))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
