"""Plain SSD300-VGG16 on CTC crops: model, data, pipelines, the paper's schedule."""

_base_ = [
    './models/ssd300_vgg16.py', './datasets/ctc_detection.py', './schedules/adam_cosine_100e.py', './default_runtime.py'
]

train_pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='ctc_mm.GammaTransform', gamma=1.5),  # Eq. 1, "brightness reducing": pixel by pixel, so crop or field is one
    # The paper's enhancement (2.5): 40/60 px, 50-70 %, flips, each on half of the images.
    dict(type='ctc_mm.ShiftScaleFlip'),
    dict(type='Resize', scale=(_base_.input_size, _base_.input_size), keep_ratio=False),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='ctc_mm.GammaTransform', gamma=1.5),
    dict(type='Resize', scale=(_base_.input_size, _base_.input_size), keep_ratio=False),
    # After Resize: the metric compares in the pixels of the original image.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px'))
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(bbox_head=dict(num_classes=_base_.num_classes))

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ctc_mm.FreezeBackboneHook', epochs=_base_.freeze_epochs),
    # Counts validations after unfreezing only.
    dict(type='ctc_mm.DelayedEarlyStoppingHook', monitor='ctc/mAP50', min_delta=0.001, patience=10),
]
