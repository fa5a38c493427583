"""A set of drawn cells as the converters write it, and a small classifier on it that trains in a second."""

import numpy as np

from ctc_mm.formats.cell_set import CellRow, CellSetWriter

COUNTS = {"train": (12, 12), "val": (5, 6), "test": (7, 8)}
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['ctc_mm'])
data_root = {root!r}
classes = ('CTC', 'WBC')
channels = 'brightfield'
dataset = dict(
    type='ctc_mm.SingleCellDataset', data_root=data_root, channels=channels, metainfo=dict(classes=classes))
load = dict(type='ctc_mm.LoadCellImage')
pack = dict(
    type='PackInputs',
    meta_keys=('img_path', 'cell_id', 'channel', 'group', 'source', 'box_xyxy', 'um_per_px', 'diameter_um',
               'diameter_px', 'split', 'fold', 'label'))
train_pipeline = [load, dict(type='RandomFlip', prob=0.5), dict(type='RandomFlip', prob=0.5, direction='vertical'),
                  dict(type='ctc_mm.CellNoise'), pack]
test_pipeline = [load, pack]
train_dataloader = dict(
    batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='val', pipeline=test_pipeline, test_mode=True))
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', pipeline=test_pipeline, test_mode=True))
val_evaluator = dict(type='ctc_mm.CTCBinaryMetric', n_resamples=50)
test_evaluator = dict(type='ctc_mm.CTCBinaryMetric', n_resamples=50)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.] * 3, to_rgb=False),
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='StackedLinearClsHead', num_classes=2, in_channels=32, mid_channels=[8], dropout_rate=0.5))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='ctc/balanced_log_loss', rule='less'))
custom_hooks = [dict(type='ctc_mm.OperatingPointHook'), dict(type='ctc_mm.EpochSeedHook')]
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
randomness = dict(seed=0)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', by_epoch=True, mean_pattern=r'^(?!ctc/).*(loss|time|data_time|grad_norm).*')
log_level = 'INFO'
"""


def draw_cells(root, counts=COUNTS, channels=("brightfield",), um_per_px=0.5, seed=0, scale=None):
    """Write CTCs (large discs) and WBCs (small ones) of 24 px, four patients a split, and return ``root``.

    Without ``scale`` they are 8-bit, else 16-bit, 8-bit values times ``scale[split]``.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    with CellSetWriter(root, overwrite=True) as writer:
        for split, numbers in counts.items():
            for label, radius_px, number in zip(("CTC", "WBC"), (8, 5), numbers, strict=True):
                for index in range(number):
                    cell = f"{split}_{label}_{index:03d}"
                    for channel in channels:
                        disc = np.hypot(y, x) < radius_px + generator.normal(0, 0.7)
                        image = np.clip(110 + 60 * disc + generator.normal(0, 10, disc.shape), 0, 255).astype(np.uint8)
                        if scale is not None:
                            image = image.astype(np.uint16) * np.uint16(scale[split])
                        row = CellRow(
                            cell_id=cell, channel=channel, label=label, group=f"{split}_P{index % 4}", split=split,
                            source=f"{split}_P{index % 4}.tif", box_xyxy=(0.0, 0.0, 24.0, 24.0), um_per_px=um_per_px,
                            extra={"diameter_um": 2 * radius_px * um_per_px},
                        )  # fmt: skip
                        writer.add(row, image)
    return root


def write_config(path, root, extra=""):
    """Write the classifier's config, with ``extra`` lines at its end, and return ``path``."""
    path.write_text(CONFIG.format(root=str(root)) + extra)
    return path
