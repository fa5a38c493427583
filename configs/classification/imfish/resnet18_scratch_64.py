"""ResNet18 from scratch on imFISH nuclei at 64 px (imfish-cnn-2022)."""

_base_ = ['../../_base_/imfish_cells_64.py', '../../_base_/models/cell_resnet18.py']

model = dict(head=dict(num_classes=_base_.num_classes))
