"""ResNet18 with the mean and spread of ImageNet; other backbones change a few lines of it."""

model = dict(
    type='ImageClassifier',
    # Images come in RGB, 0-255.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False),
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=512, loss=dict(type='CrossEntropyLoss')))
