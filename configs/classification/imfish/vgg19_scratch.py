"""VGG19 from scratch on imFISH nuclei at 224 px (imfish-cnn-2022)."""

_base_ = ['../../_base_/imfish_cells_224.py', '../../_base_/models/cell_vgg16.py']

model = dict(backbone=dict(depth=19), head=dict(num_classes=_base_.num_classes))
optim_wrapper = dict(optimizer=dict(lr=1e-4))  # without BatchNorm
