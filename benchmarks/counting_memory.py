"""Memory of a large slide: a tiled TIFF that is written and read in parts, and a network of a few layers.

The network's weights are random: it takes its time and memory, and what it finds is put aside for the slide's discs, so
that merging, tables, JSON and the report have as many cells as a slide may hold.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
from common import MIB, peak_mib, resident_mib
from mmengine.config import Config
from mmengine.registry import MODELS

from ctc_mm.counting.count_card import read_card
from ctc_mm.counting.detect import DetectRoute
from ctc_mm.counting.detect_settings import engine_settings
from ctc_mm.counting.engines import build_detector_engine
from ctc_mm.counting.engines.base import DetectorEngine, WindowDetections
from ctc_mm.counting.outputs import CARD, OutputOptions
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.counting.run import count_slides
from ctc_mm.engine.setup import register_all_modules
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field_list import FieldSource

TILE_PX = 512
CELLS_A_TILE = 4
# Of the discs: radius in pixels, how much darker than the slide they are, and from which radius one is a CTC.
RADIUS_PX, DEPTH, CTC_RADIUS_PX = (8, 18), (30, 90), 16
WHITE, NOISE = 180, 3
TINY = """
default_scope = 'mmdet'
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.] * 3, std=[64.] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='ResNet', depth=18, base_channels=4, num_stages=2, strides=(2, 2), dilations=(1, 1), out_indices=(1, )),
    bbox_head=dict(
        type='ctc_mm.CTCSSDHead', num_classes=2, in_channels=(8, ),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[16], ratios=[[2]], min_sizes=[24], max_sizes=[48]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])),
    test_cfg=dict(nms_pre=100, score_thr=0.3, nms=dict(type='nms', iou_threshold=0.45), max_per_img=40))
test_dataloader = dict(dataset=dict(metainfo=dict(classes=('CTC', 'WBC')), pipeline=[
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='Resize', scale=(320, 320), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))]))
"""


def write_large_slide(path: Path, side_px: int, rng: np.random.Generator) -> None:
    """Write a colour slide, tile by tile: noise and dark discs, the same few tiles in another order."""
    y, x = np.mgrid[:TILE_PX, :TILE_PX]
    kinds = []
    for _ in range(4):
        tile = rng.normal(WHITE, NOISE, (TILE_PX, TILE_PX, 3))
        for cx, cy in rng.uniform(20, TILE_PX - 20, (CELLS_A_TILE, 2)):
            tile[np.hypot(y - cy, x - cx) < rng.uniform(*RADIUS_PX)] -= rng.uniform(*DEPTH)
        kinds.append(zlib.compress(np.clip(tile, 0, 255).astype(np.uint8).tobytes()))
    count = (-(-side_px // TILE_PX)) ** 2

    def tiles() -> Iterator[bytes]:
        yield from (kinds[kind] for kind in rng.integers(0, len(kinds), count))

    tifffile.imwrite(
        path, tiles(), shape=(side_px, side_px, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX), photometric="rgb",
        compression="zlib",
    )  # fmt: skip


def write_tiny_model(folder: Path) -> dict[str, str]:
    """Config and random weights of a detector of a few thousand parameters."""
    config = Config.fromstring(TINY, ".py")
    register_all_modules(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    paths = folder / "tiny.py", folder / "tiny.pth"
    paths[0].write_text(TINY, encoding="utf-8")
    meta = {"dataset_meta": {"classes": ("CTC", "WBC"), "target": "CTC", "image_wh": (320, 320), "um_per_px": 0.5}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, paths[1])
    return {"config": str(paths[0]), "checkpoint": str(paths[1])}


class DiscEngine:
    """Runs a detector, and gives the dark discs of each window in the place of its findings.

    Args:
        engine: the detector.
    """

    def __init__(self, engine: DetectorEngine) -> None:
        self._engine = engine
        self.info, self.batch_size = engine.info, engine.batch_size
        self.prepare, self.model = engine.prepare, engine.model

    def __call__(self, batch: np.ndarray) -> list[WindowDetections]:
        """See ``DetectorEngine``."""
        self._engine(batch)
        return [self._discs(window.mean(axis=0)) for window in batch]

    def _discs(self, grey: np.ndarray) -> WindowDetections:
        dark = (grey < WHITE - DEPTH[0] / 2).astype(np.uint8)
        _, _, stats, centres = cv2.connectedComponentsWithStats(dark)
        # Number 0 is the rest of the window.
        boxes = stats[1:, [0, 1, 0, 1]] + np.pad(stats[1:, 2:4], ((0, 0), (2, 0)))
        depths = [WHITE - grey[int(y), int(x)] for x, y in centres[1:]]
        large = np.sqrt(stats[1:, 4] / np.pi) >= CTC_RADIUS_PX
        scores = np.clip(np.array(depths, np.float32) / DEPTH[1], 0, 1)
        return WindowDetections(boxes.astype(np.float32), scores, np.where(large, 0, 1).astype(np.int64))


class DiscRoute(DetectRoute):
    """The detector route on a ``DiscEngine``."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings, DiscEngine(build_detector_engine(engine_settings(settings))))


def count_large_slide(path: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Count it, every window, write all files of it, and see how far memory rises above that of the loaded model."""
    settings = {**write_tiny_model(folder), "threads": threads, "skip_background": False}
    spec = RouteSpec(f"{__name__}:{DiscRoute.__name__}", settings)
    # The model's own memory, working space included: it has seen a batch.
    engine = build_route(spec).engine
    engine(np.zeros((engine.batch_size, *engine.info.input_chw), np.float32))
    loaded, before = resident_mib(), peak_mib()
    began = time.perf_counter()
    slide = SlideSpec("slide", FieldSource("slide", path.name, {"": path}), um_per_px=0.5)
    # Grad-CAM belongs to networks that find what they show.
    result = count_slides([slide], spec, folder / "out", outputs=OutputOptions(cam=False))
    if not result.is_complete:
        raise SlideError("\n".join(result.lines()))
    peak, written = peak_mib(), folder / "out" / "slide"
    card = read_card(written / CARD)
    return {
        "memory_mib": {"with the model loaded": loaded, "peak": peak, "beyond the model": peak - loaded},
        "peak_before_mib": before,
        "windows": card["thresholds"]["windows"],
        "counts": card["counts"],
        "files_mib": {file.name: file.stat().st_size / MIB for file in sorted(written.iterdir())},
        "seconds": time.perf_counter() - began,
    }
