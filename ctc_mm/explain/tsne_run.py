"""From a model and a data set to maps on disk: what ``tools/tsne.py`` and ``ctc_mm.TSNEHook`` do."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.models import BaseDetector
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import nn

import ctc_mm.datasets  # noqa: F401  # for what it registers
from ctc_mm.errors import ConfigError
from ctc_mm.explain.features import POOLINGS, default_layers
from ctc_mm.explain.features_classifier import classifier_features
from ctc_mm.explain.features_detector import detector_features
from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.map_files import MapFiles, write_maps
from ctc_mm.explain.map_view import panels_of_maps, panels_of_placed
from ctc_mm.explain.trained import class_thresholds, target_threshold
from ctc_mm.explain.tsne import TSNEOptions
from ctc_mm.explain.tsne_file import load_map, save_map
from ctc_mm.explain.tsne_maps import map_layers, place_layers

PARTS = ("train", "val", "test")
MAP_FILE = "map.npz"
Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class FeatureOptions:
    """What is mapped.

    Attributes:
        layers: names, see :mod:`ctc_mm.explain.features`; None: :func:`ctc_mm.explain.features.default_layers`.
        pooling: of maps: ``mean`` or ``flatten``.
        max_samples: more samples are reduced by chance, each class by its share; None: all.
        seed: of that.

    Raises:
        ValueError: a value out of range.
    """

    layers: tuple[str, ...] | None = None
    pooling: str = "mean"
    max_samples: int | None = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}; received {self.pooling!r}")
        most = self.max_samples
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 4):
            raise ValueError(f"`max_samples` must be a whole number of at least 4, or None; received {most!r}")


def collect_features(
    model: nn.Module,
    dataset: Any,
    options: FeatureOptions,
    operating_point: Mapping[str, Any] | None = None,
    track: Track = iter,
) -> FeatureTable:
    """Features of a data set's cells (classifier) or of the boxes found in its images (detector).

    Args:
        model: of MMPretrain or MMDetection.
        dataset: with a test pipeline.
        options: what is mapped.
        operating_point: frozen with the weights; from it comes which boxes are kept, and from which score on a cell is
            called the target. None: 0.5, and the highest score.
        track: wraps the loop, for a progress bar.

    Raises:
        ConfigError: a model of another kind.
        ValueError: see :func:`classifier_features` and :func:`detector_features`.
    """
    is_detector = isinstance(model, BaseDetector)
    if not is_detector and not (hasattr(model, "head") and hasattr(model, "extract_feat")):
        raise ConfigError(f"t-SNE takes classifiers of MMPretrain and detectors; received {type(model).__name__}")
    layers = options.layers or default_layers(model, is_detector)
    common = dict(pooling=options.pooling, max_samples=options.max_samples, seed=options.seed, track=track)
    if is_detector:
        thresholds = class_thresholds(tuple(dataset.metainfo["classes"]), operating_point)
        return detector_features(model, dataset, layers, score_thr=thresholds, **common)
    return classifier_features(model, dataset, layers, score_thr=target_threshold(operating_point), **common)


def map_dataset(
    model: nn.Module,
    dataset: Any,
    out_dir: str | Path,
    features: FeatureOptions,
    options: TSNEOptions,
    *,
    title: str,
    operating_point: Mapping[str, Any] | None = None,
    track: Track = iter,
) -> MapFiles:
    """Map a data set, one panel a layer; the model is left as it was.

    Writes what :func:`ctc_mm.explain.map_files.write_maps` does, and ``map.npz`` for :func:`place_dataset`.

    Raises:
        ConfigError, ValueError: see :func:`collect_features` and :func:`ctc_mm.explain.tsne_maps.map_layers`.
    """
    table = collect_features(model, dataset, features, operating_point, track)
    layers, notes = map_layers(table, options, track)
    setting = {
        "pooling": features.pooling,
        "max_samples": features.max_samples,
        "tsne": dataclasses.asdict(options) | {"jobs": None},
        "model_digest": model_digest(model),
    }
    save_map(Path(out_dir) / MAP_FILE, layers, table, setting)
    quality = {layer.name: layer.quality for layer in layers}
    return write_maps(out_dir, panels_of_maps(layers), table, quality, title=title, notes=notes, setting=setting)


def place_dataset(
    model: nn.Module,
    dataset: Any,
    map_path: str | Path,
    out_dir: str | Path,
    features: FeatureOptions,
    *,
    title: str,
    operating_point: Mapping[str, Any] | None = None,
    track: Track = iter,
) -> MapFiles:
    """Place a data set into a saved map: the layers, pooling and options are those of the map.

    Raises:
        ConfigError: the map is of other weights or classes.
        ValueError: the file is no map; see also :func:`ctc_mm.explain.tsne_maps.place_layers`.
    """
    saved = load_map(map_path)
    if saved.setting.get("model_digest") != model_digest(model):
        raise ConfigError(
            f"{map_path}: the map was made with other weights, whose features mean something else; give the "
            "checkpoint that it was made with, or make a new map"
        )
    if features.layers is not None and tuple(features.layers) != tuple(saved.maps):
        raise ConfigError(f"{map_path}: the layers of the map are {', '.join(saved.maps)}; leave --layers out")
    features = dataclasses.replace(features, layers=tuple(saved.maps), pooling=saved.setting["pooling"])
    table = collect_features(model, dataset, features, operating_point, track)
    if table.categories != saved.categories:
        raise ConfigError(f"{map_path}: classes are {saved.categories}, those of the data set {table.categories}")
    placed, notes = place_layers(saved.maps, saved.labels, table)
    quality = {layer.name: layer.quality for layer in placed}
    panels = panels_of_placed(placed, saved.maps, saved.labels)
    setting = {"map": Path(map_path).name, "map_samples": len(saved.labels), **saved.setting}
    return write_maps(out_dir, panels, table, quality, title=title, notes=notes, setting=setting)


def build_part(cfg: Config, part: str) -> Any:
    """The data set of a part of a config, read through the test pipeline, without augmentation.

    Wrappers stay. The copies of ``ctc_mm.AugmentToN`` are made as in training: they are what is to be seen.

    Raises:
        ConfigError: no such part.
    """
    loader = cfg.get(f"{part}_dataloader") if part in PARTS else None
    if loader is None:
        raise ConfigError(f"{cfg.filename or 'the config'}: no `{part}_dataloader`; parts are {', '.join(PARTS)}")
    dataset = copy.deepcopy(loader.dataset)
    pipeline = (cfg.get("test_dataloader") or loader).dataset.get("pipeline")
    for leaf in _leaves(dataset):
        leaf.test_mode = True
        if pipeline is not None:
            leaf.pipeline = copy.deepcopy(pipeline)
    return DATASETS.build(dataset)


def model_digest(model: nn.Module) -> str:
    """A name for a model's weights: SHA-256 of all of them."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _leaves(dataset: Any) -> Iterator[Any]:
    """What reads files inside wrappers; not inside AugmentToN, whose data set only loads and has to be for training."""
    if str(dataset.get("type")).endswith("AugmentToN"):
        return
    inner: Sequence[Any] = [*([dataset["dataset"]] if "dataset" in dataset else []), *dataset.get("datasets", ())]
    if not inner:
        yield dataset
    for one in inner:
        yield from _leaves(one)
