"""Whether an exported file says what PyTorch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ctc_mm.counting.engines.base import DETECTOR, EngineSettings, WindowDetections
from ctc_mm.counting.engines.exported import ExportedClassifier, ExportedDetector
from ctc_mm.counting.engines.model_file import FLOAT32, OUTSIDE
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, SCORES
from ctc_mm.counting.engines.torch_engine import TorchClassifier, TorchDetector, TorchModel
from ctc_mm.engine.export_graph import DetectorGraph
from ctc_mm.errors import EngineError

MOST_SCORE_DIFFERENCE, LEAST_IOU = 1e-3, 0.99
# Boxes that fall away where two scores or overlaps differ in the last digit alone.
MOST_UNMATCHED = 0.01
CHECKED_IMAGES = 4
ROUNDING_PX = 1e-3
AT_ONE_PLACE = {"iou": LEAST_IOU, "score_difference": MOST_SCORE_DIFFERENCE}
SAME_CELL = {"iou": 0.5, "score_difference": 1.0}


def compare_with_torch(
    loaded: TorchModel, path: Path, engine: str, batch: np.ndarray | None = None
) -> dict[str, float]:
    """Run an exported file and PyTorch on the same images.

    Args:
        loaded: the model in PyTorch.
        path: the exported file.
        engine: that runs it.
        batch: float32 (N, C, H, W), 0 to 255; None: drawn with a fixed seed.

    Returns:
        ``images``; ``score_difference``, the largest of all priors and classes (where the file selects boxes: of those
        that both have; of a classifier: of all probabilities); of detectors also ``least_iou`` of a prior's box in both
        (likewise), ``boxes`` that PyTorch selected, and ``unmatched``, the share of all boxes that the other has not.
        Of int8 ``mean_score_difference`` too; there, boxes are those above the thresholds, and matched at an IoU of 0.5
        and any score.

    Raises:
        EngineError: they differ by more than 1e-3 in a score or below an IoU of 0.99 in a box. Of int8, which differs
            by its nature: a score is no number.
    """
    batch = drawn_images(loaded.info.input_chw) if batch is None else batch
    settings = EngineSettings(model=str(path), engine=engine, batch_size=len(batch))
    is_detector = loaded.info.kind == DETECTOR
    exported = (ExportedDetector if is_detector else ExportedClassifier).load(settings)
    check = _check_detector if is_detector else _check_classifier
    found = {"images": float(len(batch)), **check(loaded, exported, batch)}
    wrong = [np.isnan(found["score_difference"])]
    if exported.facts.precision == FLOAT32:
        wrong += [
            found["score_difference"] > MOST_SCORE_DIFFERENCE,
            not found.get("least_iou", 1.0) >= LEAST_IOU,
            found.get("unmatched", 0.0) > MOST_UNMATCHED,
        ]
    if any(wrong):
        raise EngineError(
            f"{loaded.info.name}: the exported model differs from PyTorch ({found}; at most {MOST_SCORE_DIFFERENCE} in "
            f"a score, at least {LEAST_IOU} IoU), so no file was written. Far from its training images a network may "
            "differ from itself by rounding: compare on those of the config (--check-images val), or count with "
            "--engine torch"
        )
    return found


def _check_detector(loaded: TorchModel, exported: ExportedDetector, batch: np.ndarray) -> dict[str, float]:
    ours, theirs = TorchDetector(loaded, len(batch))(batch), exported(batch)
    found = _compare_priors(loaded, exported, batch) if exported.facts.nms == OUTSIDE else _compare_boxes(ours, theirs)
    near = AT_ONE_PLACE
    if exported.facts.precision != FLOAT32:
        lowest = loaded.info.least_score(1.0)
        ours, theirs, near = *([_above(one, lowest) for one in side] for side in (ours, theirs)), SAME_CELL
    pairs = list(zip(ours, theirs, strict=True))
    total = sum(len(one.scores) + len(other.scores) for one, other in pairs)
    unmatched = sum(count_unmatched(*pair, **near) + count_unmatched(*pair[::-1], **near) for pair in pairs)
    return found | {
        "boxes": float(sum(len(one.scores) for one in ours)),
        "unmatched": unmatched / total if total else 0.0,
    }


def _compare_priors(loaded: TorchModel, exported: ExportedDetector, batch: np.ndarray) -> dict[str, float]:
    """Largest difference of a score and least IoU of a box over all priors."""
    with torch.inference_mode():
        graph = DetectorGraph(loaded.trained.model, loaded.info.input_chw)
        expected = [one.numpy() for one in graph(torch.from_numpy(batch))]
    raw = exported.raw(batch)
    found = [raw[name] for name in (SCORES, BOXES, FACTORS) if name in raw]
    boxes = found.pop(1).reshape(-1, 4), expected.pop(1).reshape(-1, 4)
    differences = [np.abs(a - b) for a, b in zip(found, expected, strict=True)]
    return _differences(exported, differences) | {"least_iou": float(iou_of_pairs(*boxes).min())}


def _compare_boxes(ours: list[WindowDetections], theirs: list[WindowDetections]) -> dict[str, float]:
    """As :func:`_compare_priors`, over boxes that both have selected, each with the nearest one of its class."""
    differences, overlaps = [0.0], [1.0]
    for one, other in zip(ours, theirs, strict=True):
        for box, score, label in zip(*one, strict=True):
            same = other.labels == label
            found = iou_of_pairs(np.broadcast_to(box, (int(same.sum()), 4)), other.boxes_xyxy[same])
            if (found >= SAME_CELL["iou"]).any():
                best = int(found.argmax())
                overlaps.append(float(found[best]))
                differences.append(float(abs(other.scores[same][best] - score)))
    return {"score_difference": max(differences), "least_iou": min(overlaps)}


def _differences(exported: ExportedDetector | ExportedClassifier, differences: list[np.ndarray]) -> dict[str, float]:
    found = {"score_difference": max(float(one.max()) for one in differences)}
    if exported.facts.precision != FLOAT32:
        found["mean_score_difference"] = float(np.mean([one.mean() for one in differences]))
    return found


def _above(found: WindowDetections, score: float) -> WindowDetections:
    kept = found.scores >= score
    return WindowDetections(*(part[kept] for part in found))


def _check_classifier(loaded: TorchModel, exported: ExportedClassifier, batch: np.ndarray) -> dict[str, float]:
    ours = TorchClassifier(loaded, len(batch))(batch)
    return _differences(exported, [np.abs(exported(batch) - ours)])


def count_unmatched(
    one: WindowDetections,
    other: WindowDetections,
    iou: float = LEAST_IOU,
    score_difference: float = MOST_SCORE_DIFFERENCE,
) -> int:
    """Boxes of ``one`` for which ``other`` has none of the same class, at an IoU of 0.99 and a score to 1e-3."""
    missing = 0
    for box, score, label in zip(*one, strict=True):
        near = (other.labels == label) & (np.abs(other.scores - score) <= score_difference)
        overlaps = iou_of_pairs(np.broadcast_to(box, (int(near.sum()), 4)), other.boxes_xyxy[near])
        missing += not (overlaps >= iou).any()
    return missing


def iou_of_pairs(one_xyxy: np.ndarray, other_xyxy: np.ndarray) -> np.ndarray:
    """IoU of box i of one array with box i of the other, float64 (N,); 1 where corners differ by rounding alone.

    Without that, two boxes of next to no width, which heads that predict distances give, may have any IoU.
    """
    one, other = one_xyxy.astype(np.float64), other_xyxy.astype(np.float64)
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    common = (high - low).clip(min=0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - common
    same = np.abs(one - other).max(axis=1, initial=0.0) <= ROUNDING_PX
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
