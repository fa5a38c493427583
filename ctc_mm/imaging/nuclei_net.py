"""Nuclei by a small convolutional network: ``segment_nuclei(image, method="learned")``.

The network (``ctc_mm/models/nuclei_net``, trained by ``benchmarks/train_nuclei.py``) gives two maps: how likely a
pixel belongs to a nucleus, and how deep inside its nucleus it lies, 0 on the outline and 1 in the middle whatever the
size. It runs in OpenCV, on windows that are fixed to the field, so a tile of a field sees what the whole field would.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.special import expit

from ctc_mm.errors import CheckpointError
from ctc_mm.imaging.nuclei_net_levels import NetLevels, measure_net_levels
from ctc_mm.imaging.nuclei_net_split import label_nuclei

WEIGHTS = Path(__file__).parent / "weights" / "nuclei.onnx"
# A window is its core, of which the maps are kept, and a margin of context around it.
MOST_CORE_PX, MARGIN_PX = 576, 32
# The network halves the resolution four times.
STRIDE_PX = 16
# Grey values are rounded to this many steps per unit of contrast, so that rounding in another pixel type cannot move
# a pixel; the offset keeps simple fractions off the border between two steps.
STEPS, ROUNDING = 1024, 0.37
DARKEST, BRIGHTEST = -1, 8
LINEAR_TOP = 2.0
DIM_GAIN = 20.0


def segment(
    image: np.ndarray,
    *,
    levels: Any = None,
    origin_xy: tuple[int, int] = (0, 0),
    weights: str | Path = WEIGHTS,
) -> np.ndarray:
    """Find the nuclei of a DAPI field, or of a tile of one, by the network.

    Args:
        image: (H, W), uint8, uint16 or float, nuclei bright.
        levels: ``NetLevels`` of the whole field, or ``NucleusLevels`` that hold them as ``network``, where ``image``
            is a tile of the field; None measures those of ``image``.
        origin_xy: where the tile's top left pixel lies in the field.
        weights: the network, ONNX.

    Returns:
        int32 (H, W), 0 background, nuclei 1..N in the order of their first pixel, row by row. In a tile, windows that
        it does not hold whole, margin included, are left empty: read it with a halo of ``halo_px(levels)``.

    Raises:
        ValueError: a tile that is not inside the field of ``levels``.
        TypeError: levels of another kind.
        CheckpointError: weights that are missing or cannot be read.
    """
    levels = measure_net_levels(image) if levels is None else getattr(levels, "network", levels)
    if not isinstance(levels, NetLevels):
        raise TypeError(f"`levels` must be NetLevels, or hold them as `network`. Received: {type(levels).__name__}")
    if levels.contrast == 0:
        return np.zeros(image.shape, np.int32)
    return label_nuclei(*run_network(image, levels, origin_xy, weights))


def halo_px(levels: NetLevels, largest_nucleus_px: int = 96) -> int:
    """Pixels to read around a tile, so that each nucleus that begins in it is found as in the whole field."""
    return largest_nucleus_px + max(_core_wh(levels.size_wh)) + MARGIN_PX


def run_network(
    image: np.ndarray, levels: NetLevels, origin_xy: tuple[int, int] = (0, 0), weights: str | Path = WEIGHTS
) -> tuple[np.ndarray, np.ndarray]:
    """The network's two maps of a field or tile; arguments as of ``segment``.

    Returns:
        Whether a pixel belongs to a nucleus, bool (H, W), and how deep it lies, float32 (H, W), above 0 and at most 1.
        False and 0 where the image does not hold a whole window.

    Raises:
        ValueError: a tile that is not inside the field of ``levels``.
        CheckpointError: weights that are missing or cannot be read.
    """
    height, width = image.shape
    x0, y0 = origin_xy
    field_width, field_height = levels.size_wh
    if min(x0, y0) < 0 or x0 + width > field_width or y0 + height > field_height:
        raise ValueError(
            f"the tile must lie inside the field of {field_width} x {field_height} px. "
            f"Received: {width} x {height} px at x {x0}, y {y0}"
        )
    nucleus, depth = np.zeros(image.shape, bool), np.zeros(image.shape, np.float32)
    network = _network(str(weights))
    for core, window in _windows(image, levels, origin_xy):
        network.setInput(window[None])
        logits = network.forward()[0, :, MARGIN_PX:, MARGIN_PX:]
        rows, columns = nucleus[core].shape  # less than a core at the field's right and bottom border
        nucleus[core] = logits[0, :rows, :columns] > 0
        depth[core] = expit(logits[1, :rows, :columns])
    return nucleus, depth


def network_input(heights: np.ndarray) -> np.ndarray:
    """What the network sees of grey values given as heights above the background in units of the contrast.

    Args:
        heights: (H, W) float.

    Returns:
        float32 (2, H, W): the heights cut at 2, and on a scale that spreads the dim ones (asinh).
    """
    indices = np.floor(np.clip(heights, DARKEST, BRIGHTEST) * STEPS + (ROUNDING - DARKEST * STEPS)).astype(np.int32)
    return _table()[:, indices]


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    heights = np.arange(DARKEST * STEPS, BRIGHTEST * STEPS + 1) / STEPS
    spread = np.arcsinh(heights * DIM_GAIN) / np.arcsinh(DIM_GAIN)
    return np.stack([np.minimum(heights, LINEAR_TOP), spread]).astype(np.float32)


def _core_wh(size_wh: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a field's cores: the field divided evenly, so that a small one is not a small part of one."""
    return tuple(math.ceil(length / math.ceil(length / MOST_CORE_PX) / STRIDE_PX) * STRIDE_PX for length in size_wh)


def _windows(
    image: np.ndarray, levels: NetLevels, origin_xy: tuple[int, int]
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """The place of each core in the tile, and the network's input of the core's window, (2, h, w).

    Beyond the field's border the field is mirrored. Windows that the tile does not hold whole are left out.
    """
    columns_and_rows = [
        list(_spans(core, length, start, start + size))
        for core, length, start, size in zip(
            _core_wh(levels.size_wh), levels.size_wh, origin_xy, image.shape[::-1], strict=True
        )
    ]
    for core_rows, rows in columns_and_rows[1]:
        for core_columns, columns in columns_and_rows[0]:
            heights = (image[np.ix_(rows, columns)].astype(np.float64) - levels.background) / levels.contrast
            yield (core_rows, core_columns), network_input(heights)


def _spans(core: int, length: int, start: int, stop: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Along one axis of a tile: where each core lies, and which of the tile's pixels its window sees."""
    for begin in range(0, length, core):
        seen = _mirrored(np.arange(begin - MARGIN_PX, begin + core + MARGIN_PX), length)
        if seen.min() >= start and seen.max() < stop:
            yield slice(begin - start, min(begin + core, length) - start), seen - start


def _mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Places of a field that is mirrored at its first and last pixel, again and again."""
    period = max(2 * (length - 1), 1)
    folded = places % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(places)


def _network(path: str) -> Any:
    """The network, read once by each thread: it keeps its input and layers, so two threads cannot share it."""
    if getattr(_of_thread, "path", None) != path:
        _of_thread.network, _of_thread.path = _read_network(path), path
    return _of_thread.network


_of_thread = threading.local()


def _read_network(path: str) -> Any:
    try:
        return cv2.dnn.readNetFromONNX(path)
    except cv2.error as error:
        raise CheckpointError(
            f"{path}: cannot be read as the nucleus network; install ctc_mm again, or make the file by "
            "benchmarks/train_nuclei.py"
        ) from error
