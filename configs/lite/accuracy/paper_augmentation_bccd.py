"""Accuracy in light: the paper's shift, shrink, flip and mirror (2.5) in place of random crops and flips."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

train_pipeline = [
    *_base_.train_pipeline[:2],  # load image and boxes
    dict(type='ctc_mm.ShiftScaleFlip'),
    *[step for step in _base_.train_pipeline[2:] if step.type not in ('MinIoURandomCrop', 'RandomFlip')]
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
