"""Fields with bright cells as COCO JSON, and a small SSD-like detector on them."""

import json

import cv2
import numpy as np

CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['ctc_mm'])
pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group'))]
loader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ctc_mm.CTCDetDataset', data_root={root!r}, ann_file='set.json', data_prefix=dict(img=''),
                 metainfo=dict(classes=('CTC', 'WBC')), pipeline=pipeline))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
    backbone=dict(type='ResNet', depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
    neck=dict(type='FPN', in_channels=[64, 128], out_channels=8, num_outs=2),
    bbox_head=dict(
        type='ctc_mm.CTCSSDHead', num_classes=2, in_channels=(8, 8),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[4, 8], ratios=[[2], [2]],
            min_sizes=[16, 40], max_sizes=[40, 76]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0, ignore_iof_thr=-1),
        sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=200, score_thr=0.02, nms=dict(type='nms', iou_threshold=0.45), max_per_img=20))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='ctc_mm.CTCDetMetric')
test_evaluator = dict(type='ctc_mm.CTCDetMetric')
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.001))
randomness = dict(seed=0)
custom_hooks = []
"""


def draw_fields(root, count=6):
    """Write fields of 96x64 px with a bright CTC and a darker WBC each, and return ``root``."""
    root.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        image = np.random.default_rng(number).integers(40, 70, (64, 96, 3), dtype=np.uint8)
        for category, (x, y, width, height), level in ((1, (20, 24, 16, 12), 220), (2, (60, 10, 20, 20), 140)):
            image[y : y + height, x : x + width] = level
            annotations.append(
                dict(id=len(annotations) + 1, image_id=number, category_id=category, bbox=[x, y, width, height],
                     area=width * height, iscrowd=0)
            )  # fmt: skip
        cv2.imwrite(str(root / f"{number}.png"), image)
        images.append(dict(id=number, file_name=f"{number}.png", width=96, height=64, group=f"slide{number}"))
    categories = [dict(id=1, name="CTC"), dict(id=2, name="WBC")]
    (root / "set.json").write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return root


def write_field_config(path, root, extra=""):
    """Write the detector's config, with ``extra`` lines at its end, and return ``path``."""
    path.write_text(CONFIG.format(root=str(root)) + extra)
    return path
