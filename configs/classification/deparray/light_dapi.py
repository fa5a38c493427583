"""A small ResNet from scratch on DEPArray cells: DAPI images as further samples, tested on bright field (reading 20)."""

_base_ = './light_brightfield.py'

train_dataloader = dict(dataset=dict(channels=('brightfield', 'dapi')))
