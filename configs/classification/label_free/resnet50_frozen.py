"""ResNet50 with frozen ImageNet weights and a small trained head, cells at 34 px (label-free-resnet-2020).

Weights trained on other cells: --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = ['../../_base_/label_free_cells_34.py', '../../_base_/models/cell_resnet50.py']

model = dict(
    backbone=dict(
        frozen_stages=4,  # all of it
        norm_eval=True,  # statistics too
        init_cfg=dict(type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://resnet50')),
    head=dict(
        type='StackedLinearClsHead', mid_channels=(256, ), dropout_rate=0.6, num_classes=_base_.num_classes))
