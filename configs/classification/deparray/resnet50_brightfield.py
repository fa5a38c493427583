"""ResNet50 on DEPArray cells, trained on bright field alone: what resnet50_dapi.py is compared with."""

_base_ = ['../../_base_/deparray_cells_224.py', '../../_base_/models/cell_resnet50.py']

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://resnet50')
model = dict(backbone=dict(init_cfg=weights), head=dict(num_classes=_base_.num_classes))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
