"""VGG16 on single cells: what t-SNE looks into, and what the SSD's backbone starts from (ssd-attention-fusion-2022, 4).

Its weights go to configs/ssd_cbam_vgg16_own_cells_ctc.py.
"""

_base_ = ['../_base_/cells_224.py', '../_base_/models/cell_vgg16.py']

weights = dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://vgg16')
model = dict(
    backbone=dict(init_cfg=weights),
    head=dict(num_classes=_base_.num_classes, init_cfg=weights))  # all but the last layer
optim_wrapper = dict(optimizer=dict(lr=1e-4))
