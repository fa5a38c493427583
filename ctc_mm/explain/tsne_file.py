"""A saved map: what it takes to place new samples beside the old ones, in a file that cannot run code.

An NPZ of numbers and text, read with ``allow_pickle=False``. It holds the map itself, not a recipe to make it again:
coordinates, the reduced features and how features are reduced. Placing needs no more, and moves nothing.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.tsne import Projection, TSNEMap, TSNEOptions
from ctc_mm.explain.tsne_maps import LayerMap
from ctc_mm.formats.files import atomic_path

FORMAT = "ctc_mm t-SNE map 1"
_ARRAYS = ("coordinates", "features", "mean", "components")


@dataclass(frozen=True)
class SavedMap:
    """What a map file holds.

    Attributes:
        maps: by layer.
        labels: int64 (N,), category of each sample.
        categories: their names.
        cell_ids: of the samples.
        setting: how features were taken: ``pooling``, ``model_digest`` and what else the writer gave.
    """

    maps: Mapping[str, TSNEMap]
    labels: np.ndarray
    categories: tuple[str, ...]
    cell_ids: tuple[str, ...]
    setting: Mapping[str, Any]


def save_map(path: str | Path, layers: Sequence[LayerMap], table: FeatureTable, setting: Mapping[str, Any]) -> None:
    """Write maps of one table; the same maps give the same bytes.

    Args:
        path: ends in ``.npz``.
        layers: the maps.
        table: their samples.
        setting: see :class:`SavedMap`; plain values.
    """
    description = {
        "format": FORMAT,
        "categories": list(table.categories),
        "setting": dict(setting),
        "layers": [
            {
                "name": layer.name,
                "kl_divergence": layer.tsne.kl_divergence,
                "perplexity": layer.tsne.perplexity,
                "scale": layer.tsne.projection.scale,
                "explained": layer.tsne.projection.explained,
                # The map does not depend on threads, so neither does its file.
                "options": dataclasses.asdict(layer.tsne.options) | {"jobs": 1},
                "notes": list(layer.tsne.notes),
            }
            for layer in layers
        ],
    }
    arrays: dict[str, np.ndarray] = {
        "description": np.array(json.dumps(description, ensure_ascii=False)),
        "labels": table.labels,
        "cell_ids": np.array([point.cell_id for point in table.points], dtype=np.str_),
    }
    for number, layer in enumerate(layers):
        parts = (
            layer.tsne.coordinates,
            layer.tsne.features,
            layer.tsne.projection.mean,
            layer.tsne.projection.components,
        )
        arrays |= {f"{number}.{name}": part for name, part in zip(_ARRAYS, parts, strict=True)}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load_map(path: str | Path) -> SavedMap:
    """Read a map file; nothing in it is run.

    Raises:
        ValueError: no such file, not a map of this kind, or damaged; it names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such map; tools/tsne.py writes one as map.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(str(arrays["description"]))
        if description["format"] != FORMAT:
            raise ValueError(f"its format is {description['format']!r}, this version reads {FORMAT!r}")
        return _saved_map(description, arrays)
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, OSError, EOFError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: not a map of tools/tsne.py, or damaged ({reason}); make it again") from error


def _saved_map(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SavedMap:
    maps = {}
    count = len(arrays["labels"])
    for number, layer in enumerate(description["layers"]):
        coordinates, features, mean, components = (arrays[f"{number}.{name}"] for name in _ARRAYS)
        consistent = (
            coordinates.shape == (count, 2)
            and features.shape == (count, len(components))
            and components.shape == (len(components), len(mean))
        )
        if not consistent or not all(np.isfinite(one).all() for one in (coordinates, features, mean, components)):
            raise ValueError(f"the arrays of layer {layer['name']!r} do not fit together")
        maps[str(layer["name"])] = TSNEMap(
            coordinates=coordinates,
            kl_divergence=float(layer["kl_divergence"]),
            perplexity=float(layer["perplexity"]),
            features=features,
            projection=Projection(mean, float(layer["scale"]), components, float(layer["explained"])),
            options=TSNEOptions(**layer["options"]),
            notes=tuple(layer["notes"]),
        )
    return SavedMap(
        maps=maps,
        labels=arrays["labels"],
        categories=tuple(description["categories"]),
        cell_ids=tuple(arrays["cell_ids"].tolist()),
        setting=description["setting"],
    )
