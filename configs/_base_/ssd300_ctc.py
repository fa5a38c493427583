"""Plain SSD300-VGG16 on CTC crops: model, data, pipelines, the paper's schedule."""

_base_ = ['./models/ssd300_vgg16.py', './datasets/ctc_detection_paper.py', './paper_training.py']

resize = dict(type='Resize', scale=(_base_.input_size, _base_.input_size), keep_ratio=False)
train_pipeline = [*_base_.train_steps, resize, *_base_.train_end]
test_pipeline = [*_base_.test_steps, resize, *_base_.test_end]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
