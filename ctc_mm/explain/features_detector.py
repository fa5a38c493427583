"""Features of detected boxes: what a detector's layers hold where it says a cell is, and whether it is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from ctc_mm.datasets.augment_to_n import seeded
from ctc_mm.evaluation.functional.matching import match_image
from ctc_mm.evaluation.functional.records import ImageRecord
from ctc_mm.evaluation.metrics.ctc_det_metric import image_record
from ctc_mm.explain.activations import evaluation_mode
from ctc_mm.explain.features import (
    INPUT,
    Layer,
    image_side,
    pick_output,
    recorded_layers,
    resolve_layers,
    thumbnail,
    to_vectors,
)
from ctc_mm.explain.features_classifier import clear, is_bgr, predict_batch, stack
from ctc_mm.explain.features_table import (
    THUMBNAIL_PX,
    FeatureTable,
    MapPoint,
    finish_thumbnails,
    note_choice,
    stratified_choice,
    text_of,
)

FALSE_POSITIVE = "false positive"
# A box's part of a map is averaged to this many cells a side, as detectors with a second stage do.
ROI_SIDE = 7
DEFAULT_SCORE_THR, DEFAULT_IOU_THR = 0.5, 0.5


def detector_features(
    model: nn.Module,
    dataset: Any,
    layers: Sequence[str],
    *,
    pooling: str = "mean",
    score_thr: float | Sequence[float] = DEFAULT_SCORE_THR,
    iou_thr: float = DEFAULT_IOU_THR,
    max_samples: int | None = None,
    seed: int = 0,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> FeatureTable:
    """Run a detector over a data set and keep what named layers hold at its boxes (RoIAlign).

    Each kept box is a true positive of its class (IoU with a truth not yet matched; reading 9) or a false positive, by
    the truth that the pipeline packs, as ``CTCDetMetric`` counts it.
    Boxes in ignore regions are neither: they are left out, and the notes count them. The model and the process's
    random numbers are left as they were.

    Args:
        model: a detector of MMDetection.
        dataset: a detection data set, such as ``CTCDetDataset``, with its test pipeline.
        layers: names of maps, see :mod:`ctc_mm.explain.features`; of several levels the first one unless indexed.
        pooling: of a box's part of the map, ``mean`` or ``flatten``.
        score_thr: boxes with a lower score are not kept; one number, or one a class.
        iou_thr: from this IoU on a box is a hit.
        max_samples: more boxes than this are reduced by class.
        seed: of that choice and of transforms.
        track: wraps the loop over images, for a progress bar.

    Raises:
        ValueError: a layer that the model does not have or that gives no map; thresholds that are no such number.
        ConfigError: the pipeline packs no truth, or has resized it.
    """
    resolved = resolve_layers(model, layers)
    classes = tuple(dataset.metainfo["classes"])
    thresholds = _thresholds(score_thr, len(classes))
    features: dict[str, list[Tensor]] = {layer.name: [] for layer in resolved}
    thumbnails: list[Tensor] = []
    points: list[MapPoint] = []
    dropped: Counter[str] = Counter()
    with (
        evaluation_mode(model),
        torch.no_grad(),
        seeded(seed),
        recorded_layers(model, resolved, lambda maps: maps.detach().clone()) as record,
    ):
        for index in track(range(len(dataset))):
            item = dataset[index]
            sample = predict_batch(model, [item])[0]
            info = dataset.get_data_info(index)
            found = _judged_boxes(image_record(sample.to_dict()), thresholds, iou_thr, classes, dropped)
            boxes = _network_boxes(found, sample.metainfo)
            for layer in resolved:
                features[layer.name].append(_box_vectors(layer, record, item["inputs"], boxes, pooling, sample))
            thumbnails.append(_box_thumbnails(item["inputs"], boxes, is_bgr(model)))
            points += [_with_image(point, info, number) for number, point in enumerate(found)]
            clear(record)
    table = FeatureTable(
        points=tuple(points),
        categories=(*classes, FALSE_POSITIVE),
        features={name: stack(values) for name, values in features.items()},
        thumbnails=finish_thumbnails(stack(thumbnails)),
        notes=tuple(f"{count} {reason}" for reason, count in sorted(dropped.items())),
    )
    kept = stratified_choice(table.labels, max_samples, seed)
    chosen = table.chosen(kept)
    return FeatureTable(
        chosen.points,
        chosen.categories,
        chosen.features,
        chosen.thumbnails,
        chosen.notes + note_choice(table.labels, kept, seed),
    )


def _thresholds(score_thr: float | Sequence[float], classes: int) -> np.ndarray:
    thresholds = np.asarray(score_thr, dtype=np.float64)
    if thresholds.ndim > 1 or (thresholds.ndim and len(thresholds) != classes) or not np.isfinite(thresholds).all():
        raise ValueError(f"`score_thr` must be one number or one for each of {classes} classes; received {score_thr}")
    return np.broadcast_to(thresholds, (classes,))


def _judged_boxes(
    record: ImageRecord, thresholds: np.ndarray, iou_thr: float, classes: Sequence[str], dropped: Counter[str]
) -> list[MapPoint]:
    """Kept boxes of one image, best score first, each as a hit of its class or a false positive."""
    order = np.argsort(-record.scores, kind="stable")
    order = order[record.scores[order] >= thresholds[record.labels[order]]]
    boxes, scores, labels = record.boxes_xyxy[order], record.scores[order], record.labels[order]
    category = np.full(len(boxes), len(classes))
    swallowed = np.zeros(len(boxes), bool)
    for label in np.unique(labels):
        mine = labels == label
        truth = record.truth_xyxy[record.truth_labels == label]
        regions = record.ignore_xyxy[record.ignore_labels == label]
        matches = match_image(boxes[mine], scores[mine], truth, regions, iou_thr)
        category[mine] = np.where(matches.is_tp, label, len(classes))
        swallowed[mine] = matches.is_ignored
    if swallowed.any():
        dropped["boxes in ignore regions left out"] += int(swallowed.sum())
    return [
        MapPoint(
            cell_id="",
            category=int(category[row]),
            predicted=classes[labels[row]],
            score=float(scores[row]),
            misjudged=bool(category[row] == len(classes)),
            box_xyxy=tuple(float(value) for value in boxes[row]),
        )
        for row in np.flatnonzero(~swallowed)
    ]


def _with_image(point: MapPoint, info: Mapping[str, Any], number: int) -> MapPoint:
    path = text_of(info, "img_path")
    return MapPoint(
        **{
            **vars(point),
            "cell_id": f"{text_of(info, 'img_id') or path}:{number}",
            "channel": text_of(info, "channel"),
            "group": text_of(info, "group"),
            "source": path,
            "path": path,
        }
    )


def _network_boxes(points: Sequence[MapPoint], meta: Mapping[str, Any]) -> Tensor:
    """float32 (K, 4): boxes in pixels of what the network sees."""
    boxes = torch.tensor([point.box_xyxy for point in points], dtype=torch.float32).reshape(-1, 4)
    scale = meta.get("scale_factor")
    return boxes if scale is None else boxes * torch.tensor([*scale[:2], *scale[:2]], dtype=torch.float32)


def _box_vectors(
    layer: Layer,
    record: Mapping[str, list[Tensor]],
    image: Tensor,
    boxes: Tensor,
    pooling: str,
    sample: Any,
) -> Tensor:
    if layer.name == INPUT:
        side = image_side(image)
        return roi_align(image.float().cpu()[None], [boxes], min(side, ROI_SIDE * 4), aligned=True).flatten(1)
    maps = pick_output(layer, record[layer.name], default=0)
    if maps.ndim != 4:
        raise ValueError(
            f"`layers`: {layer.name!r} gives features of shape {tuple(maps.shape)}; boxes need maps (N, C, H, W)"
        )
    # A map covers the padded input: `batch_input_shape`.
    height, width = sample.metainfo.get("batch_input_shape") or image.shape[-2:]
    ratio = boxes.new_tensor([maps.shape[3] / width, maps.shape[2] / height] * 2)
    return to_vectors(roi_align(maps.float().cpu(), [boxes * ratio], ROI_SIDE, aligned=True), pooling)


def _box_thumbnails(image: Tensor, boxes: Tensor, bgr: bool) -> Tensor:
    crops = roi_align(image.float().cpu()[None], [boxes], THUMBNAIL_PX, aligned=True)
    shown = [thumbnail(crop, THUMBNAIL_PX, bgr) for crop in crops]
    return torch.stack(shown) if shown else torch.empty(0, THUMBNAIL_PX, THUMBNAIL_PX, 3)
