"""Configs and checkpoints of models that load and run in a moment, and windows with cells for them."""

import re

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ctc_mm.engine.setup import register_all_modules
from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.evaluation.operating_point import META_KEY

DETECTOR = """
default_scope = 'mmdet'
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[120., 110., 100.], std=[60., 55., 50.], bgr_to_rgb=True, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=8, num_stages=1, strides=(1, ), dilations=(1, ), out_indices=(0, )),
    neck=[dict(type='FPN', in_channels=[8], out_channels=16, num_outs=2),
          dict(type='ctc_mm.CBAMNeck', in_channels=(16, 16), levels=(0, 1))],
    bbox_head=dict(
        type='ctc_mm.CTCSSDHead', num_classes=2, in_channels=(16, 16),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[4, 8], ratios=[[2], [2]],
            min_sizes=[8, 20], max_sizes=[20, 38]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])),
    test_cfg=dict(
        nms_pre=1000, score_thr=0.35, nms=dict(type='nms', iou_threshold=0.45), min_bbox_size=2, max_per_img=1000))
test_dataloader = dict(dataset=dict(metainfo=dict(classes=('CTC', 'WBC')), pipeline=[
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='ctc_mm.GammaTransform', gamma=1.5),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))]))
"""
CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.] * 3, to_rgb=False),
    backbone=dict(
        type='ResNet', depth=18, stem_channels=4, base_channels=4, num_stages=1, strides=(1, ), dilations=(1, ),
        out_indices=(0, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=4))
test_dataloader = dict(dataset=dict(
    type='ctc_mm.SingleCellDataset', channels='brightfield', metainfo=dict(classes=('CTC', 'WBC')), pipeline=[
        dict(type='ctc_mm.LoadCellImage'), dict(type='Resize', scale=(24, 24)), dict(type='PackInputs')]))
"""
POINT = {
    "kind": "detection", "target": "CTC", "thresholds": {"CTC": 0.4, "WBC": None}, "f1": {"CTC": 0.9, "WBC": None},
    "iou_thr": 0.5, "n_images": 3, "epoch": 1, "iter": 4,
}  # fmt: skip
DETECTOR_META = {
    "classes": ("CTC", "WBC"), "target": "CTC", "um_per_px": 0.5, "channel": "brightfield", "image_wh": (48, 48),
}  # fmt: skip


def write_detector(folder, text=DETECTOR, meta=DETECTOR_META, seed=0):
    """Settings of the detector with weights under which scores and boxes differ from prior to prior."""
    model = _build(text, seed)
    with torch.no_grad():
        for name, weight in model.bbox_head.named_parameters():
            if weight.ndim == 4:
                torch.nn.init.normal_(weight, std=0.05)
            elif re.search(r"cls(\.\d+)?\.bias$", name):
                weight.zero_()
    return _save(folder, "tiny_detector", text, model, {"dataset_meta": dict(meta), META_KEY: POINT})


def write_classifier(folder, text=CLASSIFIER, seed=0):
    """Settings of the classifier, trained on 12-bit images."""
    model = _build(text, seed)
    with torch.no_grad():
        torch.nn.init.normal_(model.head.fc.weight, std=0.5)
    point = ClassificationPoint("CTC", {"youden": 0.25, "wanted_fpr": None}, 0.95, 0.01, 2.0, 5, 6)
    meta = {"classes": ("CTC", "WBC"), "target": "CTC", "channel": "brightfield", "white_level": 4095.0}
    return _save(folder, "tiny_classifier", text, model, {"dataset_meta": meta, META_KEY: point.to_dict()})


def _build(text, seed):
    config = Config.fromstring(text, ".py")
    register_all_modules(config.default_scope)
    torch.manual_seed(seed)
    return MODELS.build(config.model)


def _save(folder, name, text, model, meta):
    config, checkpoint = folder / f"{name}.py", folder / f"{name}.pth"
    config.write_text(text)
    torch.save({"state_dict": model.state_dict(), "meta": meta}, checkpoint)
    return {"config": str(config), "checkpoint": str(checkpoint)}


def draw_windows(count=3, side=48, seed=0):
    """uint8 (count, side, side, 3) RGB: bright discs on a dark, noisy ground."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    windows = generator.normal(70, 15, (count, side, side, 3))
    for window in windows:
        for _ in range(3):
            centre, radius = generator.uniform(8, side - 8, 2), generator.uniform(4, 10)
            window[np.hypot(y - centre[0], x - centre[1]) < radius] += generator.uniform(40, 130, 3)
    return windows.clip(0, 255).astype(np.uint8)


def prepared(engine, windows, **options):
    """A batch for ``engine``."""
    return np.stack([engine.prepare(window, **options) for window in windows])
