"""VGG16 on single cells at 64 px, from scratch: the twin of vgg16_cells.py for a CPU.

Its weights fit configs/ssd_cbam_vgg16_own_cells_ctc.py too.
"""

_base_ = ['../_base_/cells_64.py', '../_base_/models/cell_vgg16_pooled.py']

model = dict(head=dict(num_classes=_base_.num_classes))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
