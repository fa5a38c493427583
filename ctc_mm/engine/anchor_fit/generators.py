"""Anchor generators of a config: where they stand, what they lay out, and which of their numbers can be fitted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

from ctc_mm.datasets.anchors import AnchorLevel
from ctc_mm.engine.pretrained import find_pretrained
from ctc_mm.errors import ConfigError

LEAST_GROWTH, MOST_GROWTH = 1.05, 4.0  # of a level's second square over its first, by area
LEAST_RATIO, MOST_RATIO = 1.05, 5.0
# Of an SSD level's squares over its stride: smaller ones would fall between the places of the map, and larger ones are
# better kept for the next level, whose features see more. The config's own sizes are always allowed.
LEAST_STRIDES, MOST_STRIDES = 1.5, 6.0


@dataclass(frozen=True)
class Numbers:
    """The numbers of a generator that a search may change.

    Attributes:
        own: as the config has them.
        lowest: of each.
        highest: of each.
        keys: turn numbers into keys of the generator's config, rounded.
    """

    own: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    keys: Callable[[Sequence[float]], dict[str, Any]]


def find_generator(config: Config) -> tuple[str, dict[str, Any]]:
    """The dotted key and the config of a detector's anchor generator; of two stages that of the first.

    Raises:
        ConfigError: the model has no anchors.
    """
    found = list(_generators(config.get("model") or {}, "model"))
    if not found:
        raise ConfigError(
            "the config's model has no `anchor_generator` of boxes: it finds boxes without anchors (YOLOX, RTMDet) or "
            "is no detector, so there is nothing to fit"
        )
    return found[0]


def _generators(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in items:
        if key == "anchor_generator" and not kind_of(value).endswith("PointGenerator"):  # points have no size to fit
            yield f"{path}.{key}", value
        else:
            yield from _generators(value, f"{path}.{key}")


def grids_of(config: Config, size_wh: tuple[int, int]) -> list[tuple[int, int]]:
    """Width and height of the model's feature maps, measured by sending an empty image through it.

    Args:
        config: a detector's.
        size_wh: of the image in px; it is padded as the config's preprocessor does.
    """
    model_cfg = copy.deepcopy(config.model)
    for entry in reversed(find_pretrained(model_cfg)):
        del entry.owner[entry.key]
    divisor = (model_cfg.get("data_preprocessor") or {}).get("pad_size_divisor", 1)
    width, height = (-(-side // divisor) * divisor for side in size_wh)
    model = MODELS.build(model_cfg).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, height, width))
    return [(one.shape[-1], one.shape[-2]) for one in maps]


def lay_out(generator_cfg: Mapping[str, Any], grids_wh: Sequence[tuple[int, int]]) -> list[AnchorLevel]:
    """The anchors of a generator's config, level by level.

    Raises:
        ConfigError: the generator has another number of levels than the model.
    """
    generator = TASK_UTILS.build(copy.deepcopy(dict(generator_cfg)))
    if len(generator.base_anchors) != len(grids_wh):
        raise ConfigError(
            f"the anchor generator has {len(generator.base_anchors)} levels, and the model {len(grids_wh)} feature maps"
        )
    return [
        AnchorLevel(anchors.numpy().astype(float), tuple(map(float, stride)), tuple(grid))
        for anchors, stride, grid in zip(generator.base_anchors, generator.strides, grids_wh, strict=True)
    ]


def numbers_of(generator_cfg: Mapping[str, Any]) -> Numbers | None:
    """What can be fitted of a generator; None for YOLO's, whose anchors are free shapes.

    Their number stays, so that the head's layers and the model's cost do too.

    Raises:
        ConfigError: a generator of another kind.
    """
    kind = kind_of(generator_cfg)
    if kind == "YOLOAnchorGenerator":
        return None
    if kind == "SSDAnchorGenerator":
        return _ssd_numbers(generator_cfg)
    if kind == "AnchorGenerator":
        return _plain_numbers(generator_cfg)
    raise ConfigError(
        f"anchor_generator.type {kind!r} cannot be fitted; SSDAnchorGenerator, YOLOAnchorGenerator and AnchorGenerator "
        "can"
    )


def kind_of(generator_cfg: Mapping[str, Any]) -> str:
    """Name of the generator's class, without a scope."""
    kind = generator_cfg["type"]
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__


def _ssd_numbers(generator_cfg: Mapping[str, Any]) -> Numbers:
    """Of each level the smaller square, its growth to the larger one, and the ratios."""
    generator = TASK_UTILS.build(copy.deepcopy(dict(generator_cfg)))
    lengths = [len(ratios) for ratios in generator_cfg["ratios"]]
    sizes = [float(size) for size in generator.base_sizes]
    growths = [float(scales[1]) ** 2 for scales in generator.scales]  # the generator keeps the root
    ratios = [float(ratio) for level in generator_cfg["ratios"] for ratio in level]
    strides = [float(np.mean(stride)) for stride in generator.strides]
    levels = len(sizes)

    def keys(numbers: Sequence[float]) -> dict[str, Any]:
        small, growth, flat = numbers[:levels], numbers[levels : 2 * levels], list(numbers[2 * levels :])
        small = [round(size) for size in small]
        large = [max(round(size * more), size + 1) for size, more in zip(small, growth, strict=True)]
        by_level = [sorted(round(flat.pop(0), 2) for _ in range(length)) for length in lengths]
        return dict(min_sizes=small, max_sizes=large, ratios=by_level)

    return Numbers(
        (*sizes, *growths, *ratios),
        (
            *(min(size, LEAST_STRIDES * stride) for size, stride in zip(sizes, strides, strict=True)),
            *[LEAST_GROWTH] * levels,
            *[LEAST_RATIO] * len(ratios),
        ),
        (
            *(max(size, MOST_STRIDES * stride) for size, stride in zip(sizes, strides, strict=True)),
            *[MOST_GROWTH] * levels,
            *[MOST_RATIO] * len(ratios),
        ),
        keys,
    )


def _plain_numbers(generator_cfg: Mapping[str, Any]) -> Numbers:
    """Sizes over the level's stride, the same on each level, and ratios of height to width."""
    by_octave = generator_cfg.get("scales") is None
    scales = [generator_cfg["octave_base_scale"]] if by_octave else list(generator_cfg["scales"])
    ratios = list(generator_cfg["ratios"])

    def keys(numbers: Sequence[float]) -> dict[str, Any]:
        fitted = [round(float(one), 2) for one in numbers]
        sizes = dict(octave_base_scale=fitted[0]) if by_octave else dict(scales=fitted[: len(scales)])
        return dict(**sizes, ratios=fitted[len(scales) :])

    return Numbers(
        tuple(map(float, (*scales, *ratios))),
        (*[0.25] * len(scales), *[1 / MOST_RATIO] * len(ratios)),
        (*[32.0] * len(scales), *[MOST_RATIO] * len(ratios)),
        keys,
    )


def starts_from_shapes(numbers: Numbers, generator_cfg: Mapping[str, Any], shapes_wh: np.ndarray) -> tuple[float, ...]:
    """Where a search begins from k-means: its sizes in their order, ratios as the config has them.

    Args:
        numbers: of the generator.
        generator_cfg: its config.
        shapes_wh: float (K, 2), smallest first; for SSD a shape more than it has levels.
    """
    sizes = np.sqrt(shapes_wh.prod(axis=1))
    if kind_of(generator_cfg) == "SSDAnchorGenerator":
        levels = len(sizes) - 1
        growths = np.clip(sizes[1:] / sizes[:-1], LEAST_GROWTH, MOST_GROWTH)
        small = np.clip(sizes[:-1], numbers.lowest[:levels], numbers.highest[:levels])
        return (*map(float, small), *map(float, growths), *numbers.own[2 * levels :])
    strides = [float(np.mean(stride)) for stride in generator_cfg["strides"]]
    count = len(numbers.own) - len(generator_cfg["ratios"])
    relative = np.sort([size / min(strides, key=lambda stride: abs(size / stride - 4)) for size in sizes])
    scales = [float(np.median(part)) for part in np.array_split(relative, count)]
    return (*np.clip(scales, numbers.lowest[0], numbers.highest[0]), *numbers.own[count:])
