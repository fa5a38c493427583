"""Truth of synthetic objects: which pixel belongs to which, and the boxes around them."""

from __future__ import annotations

import numpy as np

from ctc_mm.phantoms.cell_shapes import ObjectStack


def label_instances(cells: ObjectStack, shape_hw: tuple[int, int]) -> np.ndarray:
    """Instance labels (H, W) int32; where cells press together a pixel belongs to the one it lies deeper in."""
    instances = np.zeros(shape_hw, np.int32)
    deepest = np.zeros(shape_hw, np.float32)
    for index, (depth, corner_yx) in enumerate(zip(cells.depth, cells.corners_yx, strict=True)):
        target, source = overlap_slices(shape_hw, corner_yx, depth.shape[0])
        wins = depth[source] > deepest[target]
        instances[target][wins] = index + 1
        deepest[target][wins] = depth[source][wins]
    return instances


def overlap_slices(
    shape_hw: tuple[int, int], corner_yx: np.ndarray, side: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the field and of the patch where a square patch at ``corner_yx`` lies inside the field."""
    target, source = [], []
    for start, size in zip(corner_yx.tolist(), shape_hw, strict=True):
        low, high = max(start, 0), max(min(start + side, size), 0)
        target.append(slice(low, max(low, high)))
        source.append(slice(low - start, max(low, high) - start))
    return tuple(target), tuple(source)


def tight_boxes(instances: np.ndarray, count: int) -> np.ndarray:
    """Half-open boxes (N, 4) float32 around labels 1 to N."""
    ys, xs = np.nonzero(instances)
    cells = instances[ys, xs] - 1
    lowest = np.full((count, 2), np.iinfo(np.int64).max)
    highest = np.zeros((count, 2), np.int64)
    for axis, values in enumerate((xs, ys)):
        np.minimum.at(lowest[:, axis], cells, values)
        np.maximum.at(highest[:, axis], cells, values)
    return np.concatenate([lowest, highest + 1], axis=1).astype(np.float32)
