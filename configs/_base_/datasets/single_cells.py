"""Single cells as the converters write them: data/cells/{cells.csv, train/, val/, test/}, bright field.

The pipelines are put together where the input size is known, of the steps that stand here.
"""

data_root = 'data/cells/'
classes = ('CTC', 'WBC')  # class 0 is the target
num_classes = len(classes)
metainfo = dict(classes=classes)
channels = 'brightfield'

dataset = dict(type='ctc_mm.SingleCellDataset', data_root=data_root, channels=channels, metainfo=metainfo)
workers = dict(num_workers=2, persistent_workers=True)

train_dataloader = dict(
    batch_size=32,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train'))
val_dataloader = dict(
    batch_size=64,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='val', test_mode=True))
test_dataloader = dict(
    batch_size=64,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', test_mode=True))

val_evaluator = dict(type='ctc_mm.CTCBinaryMetric')
test_evaluator = dict(type='ctc_mm.CTCBinaryMetric', operating_point=None)  # never chosen on test

load_cell = dict(type='ctc_mm.LoadCellImage')  # float32, 0-255, grey on three planes
augment_cell = [
    # A cell has no upright: both flips are true to it.
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
]
pack_cell = dict(
    type='PackInputs',
    meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'cell_id', 'channel', 'group', 'source', 'box_xyxy',
               'um_per_px', 'diameter_um', 'diameter_px', 'split', 'fold', 'label', 'img_paths', 'img_planes'))
