"""The imFISH paper's own CNN: three hidden layers of 5x5 convolution, ReLU and pooling."""

_base_ = './cell_resnet18.py'

model = dict(backbone=dict(_delete_=True, type='ctc_mm.ImFISHCNN'), head=dict(in_channels=128))
