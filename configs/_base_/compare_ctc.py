"""What the detectors of the paper's Table 1 share with the SSD: data, preparation, enhancement, size, training.

All see the same images of 300 px; those that need multiples of 32 pad them (`pad_size_divisor` of the model).
"""

_base_ = ['./datasets/ctc_detection_paper.py', './paper_training.py']

input_size = 300
resize = dict(type='Resize', scale=(input_size, input_size), keep_ratio=False)
train_pipeline = [*_base_.train_steps, resize, *_base_.train_end]
test_pipeline = [*_base_.test_steps, resize, *_base_.test_end]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
