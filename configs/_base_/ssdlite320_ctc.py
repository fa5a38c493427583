"""Plain SSDLite on CTC data: model, data, pipelines, schedule."""

_base_ = [
    './models/ssdlite320_mobilenetv2.py', './datasets/ctc_detection.py', './schedules/adamw_cosine_24e.py',
    './default_runtime.py'
]

train_pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop', min_ious=(0.3, 0.5, 0.7, 0.9), min_crop_size=0.5),
    dict(type='Resize', scale=(_base_.input_size, _base_.input_size), keep_ratio=False),
    # A cell has no upright: both flips are true to it.
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=24,  # grey levels of 255
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=9),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='Resize', scale=(_base_.input_size, _base_.input_size), keep_ratio=False),
    # After Resize: the metric compares in the pixels of the original image.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px'))
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
