"""Accuracy in light: 448 px in place of 320, with anchors grown as the image; twice the cost."""

_base_ = '../ssdlite_cbam_mobilenetv2_bccd.py'

input_size = 448
train_pipeline = [
    dict(step, scale=(input_size, input_size)) if step.type == 'Resize' else step for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, scale=(input_size, input_size)) if step.type == 'Resize' else step for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            strides=[8, 16, 32, 64, 112, 224],
            min_sizes=[22, 56, 106, 174, 258, 347],
            max_sizes=[56, 106, 174, 258, 347, 437])))
