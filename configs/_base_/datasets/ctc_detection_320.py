"""A CTC data set at 320 px, with the pipelines of the light detectors: random crop, flips, colour."""

_base_ = './ctc_detection.py'

input_size = 320

train_pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop', min_ious=(0.3, 0.5, 0.7, 0.9), min_crop_size=0.5),
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
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
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
    # After Resize: the metric compares in the pixels of the original image.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px'))
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
