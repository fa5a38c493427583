"""A small ResNet from scratch on DEPArray cells, bright field alone: what light_dapi.py is compared with."""

_base_ = ['../../_base_/deparray_cells_64.py', '../../_base_/models/cell_resnet18_light.py']

model = dict(head=dict(num_classes=_base_.num_classes))
