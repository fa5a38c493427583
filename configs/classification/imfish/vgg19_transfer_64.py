"""VGG19 from ImageNet's weights on imFISH nuclei at 64 px (imfish-cnn-2022)."""

_base_ = './vgg19_scratch_64.py'

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://vgg19')
model = dict(backbone=dict(init_cfg=weights))
