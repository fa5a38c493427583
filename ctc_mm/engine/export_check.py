"""Whether an exported file says what PyTorch says, on drawn fields of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ctc_mm.counting.engines.base import DETECTOR, EngineSettings, WindowDetections
from ctc_mm.counting.engines.exported import ExportedClassifier, ExportedDetector
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, SCORES
from ctc_mm.counting.engines.torch_engine import TorchClassifier, TorchDetector, TorchModel
from ctc_mm.engine.export_graph import DetectorGraph
from ctc_mm.errors import EngineError

MOST_SCORE_DIFFERENCE, LEAST_IOU = 1e-3, 0.99
# Boxes that fall away where two scores or overlaps differ in the last digit alone.
MOST_UNMATCHED = 0.01
CHECKED_IMAGES = 4


def compare_with_torch(loaded: TorchModel, path: Path, engine: str) -> dict[str, float]:
    """Run an exported file and PyTorch on the same images, drawn with a fixed seed.

    Args:
        loaded: the model in PyTorch.
        path: the exported file.
        engine: that runs it.

    Returns:
        ``images``; ``score_difference``, the largest of all priors and classes (of a classifier: of all
        probabilities); of detectors also ``least_iou`` of a prior's box in both, ``boxes`` that were selected, and
        ``unmatched``, the share of them that the other has not.

    Raises:
        EngineError: they differ by more than 1e-3 in a score or below an IoU of 0.99 in a box.
    """
    settings = EngineSettings(model=str(path), engine=engine, batch_size=CHECKED_IMAGES)
    batch = drawn_images(loaded.info.input_chw)
    check = _check_detector if loaded.info.kind == DETECTOR else _check_classifier
    found = {"images": float(len(batch)), **check(loaded, settings, batch)}
    wrong = [
        found["score_difference"] > MOST_SCORE_DIFFERENCE or np.isnan(found["score_difference"]),
        not found.get("least_iou", 1.0) >= LEAST_IOU,
        found.get("unmatched", 0.0) > MOST_UNMATCHED,
    ]
    if any(wrong):
        raise EngineError(
            f"{loaded.info.name}: the exported model differs from PyTorch ({found}; at most {MOST_SCORE_DIFFERENCE} in "
            f"a score, at least {LEAST_IOU} IoU), so no file was written; count with --engine torch"
        )
    return found


def _check_detector(loaded: TorchModel, settings: EngineSettings, batch: np.ndarray) -> dict[str, float]:
    exported = ExportedDetector.load(settings)
    ours, theirs = TorchDetector(loaded, settings.batch_size)(batch), exported(batch)
    with torch.inference_mode():
        graph = DetectorGraph(loaded.trained.model, loaded.info.input_chw)
        expected = [one.numpy() for one in graph(torch.from_numpy(batch))]
    raw = exported.raw(batch)
    found = [raw[name] for name in (SCORES, BOXES, FACTORS) if name in raw]
    boxes = found.pop(1).reshape(-1, 4), expected.pop(1).reshape(-1, 4)
    pairs = list(zip(ours, theirs, strict=True))
    total = sum(len(one.scores) + len(other.scores) for one, other in pairs)
    unmatched = sum(count_unmatched(one, other) + count_unmatched(other, one) for one, other in pairs)
    return {
        "score_difference": max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)),
        "least_iou": float(iou_of_pairs(*boxes).min()),
        "boxes": float(sum(len(one.scores) for one in ours)),
        "unmatched": unmatched / total if total else 0.0,
    }


def _check_classifier(loaded: TorchModel, settings: EngineSettings, batch: np.ndarray) -> dict[str, float]:
    ours = TorchClassifier(loaded, settings.batch_size)(batch)
    return {"score_difference": float(np.abs(ExportedClassifier.load(settings)(batch) - ours).max())}


def count_unmatched(one: WindowDetections, other: WindowDetections) -> int:
    """Boxes of ``one`` for which ``other`` has none of the same class, at an IoU of 0.99 and a score to 1e-3."""
    missing = 0
    for box, score, label in zip(*one, strict=True):
        near = (other.labels == label) & (np.abs(other.scores - score) <= MOST_SCORE_DIFFERENCE)
        overlaps = iou_of_pairs(np.broadcast_to(box, (int(near.sum()), 4)), other.boxes_xyxy[near])
        missing += not (overlaps >= LEAST_IOU).any()
    return missing


def iou_of_pairs(one_xyxy: np.ndarray, other_xyxy: np.ndarray) -> np.ndarray:
    """IoU of box i of one array with box i of the other, float64 (N,); 1 where both are the same."""
    one, other = one_xyxy.astype(np.float64), other_xyxy.astype(np.float64)
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    common = (high - low).clip(min=0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - common
    same = (one == other).all(axis=1)
    return np.where(same, 1.0, common / np.where(union > 0, union, 1.0))


def drawn_images(input_chw: tuple[int, int, int], count: int = CHECKED_IMAGES, seed: int = 0) -> np.ndarray:
    """Fields of soft discs of all sizes on a grey ground with noise, float32 (N, C, H, W), 0 to 255."""
    generator = np.random.default_rng(seed)
    planes, height, width = input_chw
    y, x = np.mgrid[:height, :width]
    images = np.full((count, planes, height, width), 150.0)
    for image in images:
        for _ in range(12):
            centre, radius = generator.random(2) * (height, width), generator.uniform(0.02, 0.2) * min(height, width)
            disc = 1 / (1 + np.exp((np.hypot(y - centre[0], x - centre[1]) - radius) / (0.1 * radius + 0.5)))
            image += generator.uniform(-90, 90, (planes, 1, 1)) * disc
    return np.clip(images + generator.normal(0, 6, images.shape), 0, 255).astype(np.float32)
