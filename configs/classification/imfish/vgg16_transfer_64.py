"""VGG16 from ImageNet's weights on imFISH nuclei at 64 px (imfish-cnn-2022)."""

_base_ = './vgg16_scratch_64.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://vgg16')
model = dict(backbone=dict(init_cfg=weights))
