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

load_cell = dict(type='ctc_mm.LoadCellImage')  # float32, 0-255, RGB or grey on three planes
# deparray-augmentation-2025's three kinds, anew in each epoch; prob=0 switches one off.
augment_cell = [
    dict(type='ctc_mm.CellGeometry'),
    dict(type='ctc_mm.CellIllumination'),
    dict(type='ctc_mm.CellNoise'),
]
pack_cell = dict(
    type='PackInputs',
    meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'cell_id', 'channel', 'group', 'source', 'box_xyxy',
               'um_per_px', 'diameter_um', 'diameter_px', 'split', 'fold', 'label', 'copy_index', 'img_paths',
               'img_planes'))
