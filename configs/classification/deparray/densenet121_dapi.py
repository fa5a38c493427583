"""DenseNet121 on DEPArray cells: DAPI images as further samples in training, tested on bright field (reading 20)."""

_base_ = './densenet121_brightfield.py'

train_dataloader = dict(dataset=dict(channels=('brightfield', 'dapi')))
