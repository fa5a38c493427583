"""A small ResNet on single cells at 64 px, trained from scratch on a CPU.

Other cells: --cfg-options data_root=data/mine/; classes="('CTC','non-CTC')" where they have other names.
"""

_base_ = ['../_base_/cells_64.py', '../_base_/models/cell_resnet18_light.py']

model = dict(head=dict(num_classes=_base_.num_classes))
