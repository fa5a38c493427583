"""ResNet50 on DEPArray cells: DAPI images as further samples in training, tested on bright field (reading 20)."""

_base_ = './resnet50_brightfield.py'

train_dataloader = dict(dataset=dict(channels=('brightfield', 'dapi')))
