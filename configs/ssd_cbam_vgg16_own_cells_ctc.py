"""The paper's conclusion: the backbone starts from a VGG16 trained on one's own single cells.

The file is a checkpoint of MMPretrain's VGG16 (or torchvision's); give another with
--cfg-options model.backbone.init_cfg.checkpoint=FILE.
"""

_base_ = './ssd_cbam_vgg16_ctc.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/vgg16_cells/best.pth')))
