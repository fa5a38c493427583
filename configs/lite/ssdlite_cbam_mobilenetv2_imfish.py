"""The upgraded SSD in light on unlabelled imFISH slides: the rule (DAPI+, CD45-, CEP8 >= 3) gives the truth.

The label pipeline judges whole fields once and keeps the verdicts in work_dirs/imfish_cache.
"""

_base_ = [
    '../_base_/models/ssdlite320_mobilenetv2.py', '../_base_/datasets/imfish_fields.py',
    '../_base_/schedules/adamw_cosine_24e.py', '../_base_/default_runtime.py'
]

input_size = 320
label = dict(type='ctc_mm.LabelCEP8', mode='full', cache_dir='work_dirs/imfish_cache')
train_pipeline = [
    dict(type='ctc_mm.LoadField'),
    label,
    # Neither shrunken nor in other colours: signals of three pixels and the stain of each channel make the class.
    dict(type='ctc_mm.ShiftScaleFlip', scale_prob=0),
    dict(type='RandomFlip', prob=0.5, direction='diagonal'),
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px', 'region_xyxy',
                   'cells_before_transforms', 'dropped_cells'))
]
test_pipeline = [
    dict(type='ctc_mm.LoadField'),
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
    label,  # after Resize: the metric compares in the pixels of the window as it was read
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px', 'region_xyxy'))
]
# Windows of the network's size, so that no signal is resampled.
train_dataloader = dict(dataset=dict(window_px=input_size, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(window_px=input_size, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(window_px=input_size, pipeline=test_pipeline))

model = dict(
    neck=[_base_.model.neck, _base_.attention, _base_.fusion], bbox_head=dict(num_classes=_base_.num_classes))
