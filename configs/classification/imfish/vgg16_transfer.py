"""VGG16 from ImageNet's weights on imFISH nuclei at 224 px (imfish-cnn-2022)."""

_base_ = './vgg16_scratch.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://vgg16')
# All but the last layer.
model = dict(backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))
