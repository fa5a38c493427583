"""Features of single cells: a classifier over a data set, with what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ctc_mm.datasets.augment_to_n import seeded
from ctc_mm.explain.activations import evaluation_mode
from ctc_mm.explain.classifier_cam import predict_label
from ctc_mm.explain.features import (
    INPUT,
    Layer,
    image_side,
    image_vector,
    pick_output,
    recorded_layers,
    resolve_layers,
    thumbnail,
    to_vectors,
)
from ctc_mm.explain.features_table import (
    THUMBNAIL_PX,
    FeatureTable,
    MapPoint,
    finish_thumbnails,
    note_choice,
    stratified_choice,
    text_of,
)

BATCH_SIZE = 32


def classifier_features(
    model: nn.Module,
    dataset: Any,
    layers: Sequence[str],
    *,
    pooling: str = "mean",
    score_thr: float | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> FeatureTable:
    """Run a classifier over a data set and keep what named layers give for each sample.

    The model is left as it was (modes, hooks, gradients), and so are the random numbers of the process; transforms
    that draw some get the same ones each time. Samples with ``copy_index`` above 0, and those whose image was there
    before, are copies.

    Args:
        model: an image classifier of MMPretrain.
        dataset: ``SingleCellDataset``, any other classification data set of MMPretrain, or a wrapper of one.
        layers: see :mod:`ctc_mm.explain.features`.
        pooling: of maps, ``mean`` or ``flatten``; pixels are always laid out.
        score_thr: from this score on a sample is called class 0, the target; None: the highest score wins.
        max_samples: more samples than this are reduced by :func:`stratified_choice`.
        seed: of the choice and of transforms.
        track: wraps the loop over batches, for a progress bar.

    Raises:
        ValueError: a layer that the model does not have or that gives no features; see also
            :func:`stratified_choice`.
    """
    resolved = resolve_layers(model, layers)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    labels = [_label(info) for info in infos]
    kept = stratified_choice(labels, max_samples, seed)
    collected = _Collected(resolved, pooling)
    batches = [kept[start : start + BATCH_SIZE] for start in range(0, len(kept), BATCH_SIZE)]
    with (
        evaluation_mode(model),
        torch.no_grad(),
        seeded(seed),
        recorded_layers(model, resolved, lambda maps: to_vectors(maps, pooling)) as record,
    ):
        for indices in track(batches):
            items = [dataset[int(index)] for index in indices]
            samples = predict_batch(model, items)
            collected.add(items, record, is_bgr(model))
            collected.samples += samples
            clear(record)
    classes = tuple(dataset.metainfo.get("classes") or ())
    categories = classes or tuple(f"class {label}" for label in range(max(labels, default=-1) + 1))
    points = _points([infos[index] for index in kept], collected.samples, categories, score_thr)
    return FeatureTable(
        points=tuple(points),
        categories=categories,
        features={name: stack(values) for name, values in collected.features.items()},
        thumbnails=finish_thumbnails(stack(collected.thumbnails)),
        notes=note_choice(labels, kept, seed),
    )


def predict_batch(model: nn.Module, items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Predict a batch of a pipeline's items as a test does; their data samples with predictions."""
    data = model.data_preprocessor(pseudo_collate(list(items)), training=False)
    return list(model(**data, mode="predict"))


def is_bgr(model: nn.Module) -> bool:
    """Whether the pipeline hands blue first to the model, which then turns the channels."""
    preprocessor = model.data_preprocessor
    return bool(getattr(preprocessor, "to_rgb", False) or getattr(preprocessor, "_channel_conversion", False))


def clear(record: Mapping[str, list[Tensor]]) -> None:
    """Empty the lists of a record, which the hooks go on filling."""
    for tensors in record.values():
        tensors.clear()


def stack(rows: Sequence[Tensor]) -> np.ndarray:
    """Rows of one batch after the other as one array; (0, 1) of none."""
    return torch.cat(list(rows)).numpy() if rows else np.empty((0, 1), np.float32)


class _Collected:
    """Features, thumbnails and predictions, batch by batch."""

    def __init__(self, layers: Sequence[Layer], pooling: str) -> None:
        self.layers, self.pooling = layers, pooling
        self.features: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
        self.thumbnails: list[Tensor] = []
        self.samples: list[Any] = []
        self._side = 0

    def add(self, items: Sequence[Mapping[str, Any]], record: Mapping[str, list[Tensor]], bgr: bool) -> None:
        images = [item["inputs"] for item in items]
        self._side = self._side or image_side(images[0])
        self.thumbnails.append(torch.stack([thumbnail(image, THUMBNAIL_PX, bgr) for image in images]))
        for layer in self.layers:
            if layer.name == INPUT:
                vectors = torch.stack([image_vector(image, self._side) for image in images])
            else:
                vectors = pick_output(layer, record[layer.name], default=-1)
            self._check(layer, vectors, len(items))
            self.features[layer.name].append(vectors)

    def _check(self, layer: Layer, vectors: Tensor, count: int) -> None:
        before = self.features[layer.name]
        length = before[0].shape[1] if before else vectors.shape[1]
        if vectors.shape[0] != count or vectors.shape[1] != length:
            raise ValueError(
                f"`layers`: {layer.name!r} gives features of shape {tuple(vectors.shape)} for {count} samples, where "
                f"({count}, {length}) was expected; with images of several sizes pool by mean, or resize them"
            )


def _label(info: Mapping[str, Any]) -> int:
    label = np.asarray(info["gt_label"]).ravel()
    if label.size != 1:
        raise ValueError(f"t-SNE maps samples of one class each; received labels {label.tolist()}")
    return int(label[0])


def _points(
    infos: Sequence[Mapping[str, Any]], samples: Sequence[Any], categories: Sequence[str], score_thr: float | None
) -> Iterator[MapPoint]:
    seen: dict[tuple[str, ...], int] = {}
    for info, sample in zip(infos, samples, strict=True):
        info = {**info, **sample.metainfo}
        scores = getattr(sample, "pred_score", None)
        predicted = None if scores is None else predict_label(scores.cpu().numpy(), score_thr)
        label = _label(info)
        path = text_of(info, "img_path")
        name = text_of(info, "cell_id") or path
        key = (path, name, text_of(info, "channel"))
        repeated = seen[key] = seen.get(key, -1) + 1
        yield MapPoint(
            cell_id=name,
            category=label,
            predicted=None if predicted is None else categories[predicted],
            score=None if scores is None else float(scores[0]),
            misjudged=predicted is not None and predicted != label,
            channel=text_of(info, "channel"),
            group=text_of(info, "group"),
            source=text_of(info, "source"),
            path=path,
            box_xyxy=info.get("box_xyxy"),
            copy_index=int(info.get("copy_index") or repeated),
        )
