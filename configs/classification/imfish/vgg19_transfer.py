"""VGG19 from ImageNet's weights on imFISH nuclei at 224 px (imfish-cnn-2022)."""

_base_ = './vgg19_scratch.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://vgg19')
# All but the last layer.
model = dict(backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))
