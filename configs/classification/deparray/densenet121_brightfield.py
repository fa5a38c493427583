"""DenseNet121 on DEPArray cells, trained on bright field alone: what densenet121_dapi.py is compared with."""

_base_ = ['../../_base_/deparray_cells_224.py', '../../_base_/models/cell_densenet121.py']

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://densenet121')
model = dict(backbone=dict(init_cfg=weights), head=dict(num_classes=_base_.num_classes))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
