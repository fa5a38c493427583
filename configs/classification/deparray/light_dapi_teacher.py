"""A small ResNet on the DAPI images of DEPArray cells: a teacher for light_distilled.py."""

_base_ = './light_brightfield.py'

channels = 'dapi'
train_dataloader = dict(dataset=dict(channels=channels))
val_dataloader = dict(dataset=dict(channels=channels))
test_dataloader = dict(dataset=dict(channels=channels))
