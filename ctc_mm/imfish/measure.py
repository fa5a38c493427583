"""Numbers of each nucleus in a piece of a field, each from a window around the nucleus that the piece does not decide.

So a nucleus gets the same numbers, to the last bit, however the field is cut, as long as the piece holds its
surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import ndimage

from ctc_mm.imfish.nucleus_shape import cytoplasm_ring, edge_blur_px, median, smoothed, solidity
from ctc_mm.imfish.thresholds import ImFISHThresholds

_SPOT_WEIGHTS = np.outer((1, 2, 1), (1, 2, 1)) / 16
# Pixels this many times as bright as the median of their nucleus are counted: where two nuclei lie over one another,
# both shine.
BRIGHT_FACTOR = 1.5
# Pixels around a nucleus that its numbers depend on, beside the ring.
_MARGIN_PX = 6


@dataclass(frozen=True)
class Measurement:
    """What is measured of one nucleus; units as in ``NucleusRecord``.

    Attributes:
        first_yx: first pixel of the nucleus in the field, row by row; nuclei are told apart and ordered by it.
        group: numbers of the touching nuclei, itself included (1: it touches none).
        on_border: whether it touches the field's edge.
        cep8: median of CEP8 in the nucleus, in grey values.
        spots_height: how far each spot stands above that.
        outlines_xy: along the edges of its pixels, in pixels of the field; empty where nobody asked for them.
    """

    first_yx: tuple[int, int]
    box_xyxy: tuple[int, int, int, int]
    centroid_yx: tuple[float, float]
    area_px: int
    solidity: float
    bright_share: float
    edge_px: float | None
    group: int
    on_border: bool
    dapi: float
    cd45_ring: float | None
    cep8: float
    spots_yx: tuple[tuple[float, float], ...]
    spots_snr: tuple[float, ...]
    spots_height: tuple[float, ...]
    outlines_xy: tuple[tuple[tuple[float, float], ...], ...] = ()

    def to_row(self) -> list[Any]:
        """Plain values for JSON, in the order of the fields."""
        return [getattr(self, one.name) for one in fields(self)]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Measurement:
        """Take back what ``to_row`` gave, also when JSON has made lists of tuples."""
        return cls(*(_as_tuples(value) for value in row))


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Piece:
    """A piece of a field that has been read: its channels and nuclei.

    Attributes:
        labels: (h, w) int32 nuclei.
        dapi: (h, w) grey values.
        cep8: likewise.
        cd45: likewise, or None.
        spots: (S, 3) float32: y, x in the piece, signal-to-noise.
        origin_xy: where the piece's first pixel lies in the field.
        field_wh: width and height of the field.
    """

    labels: np.ndarray
    dapi: np.ndarray
    cep8: np.ndarray
    cd45: np.ndarray | None
    spots: np.ndarray
    origin_xy: tuple[int, int]
    field_wh: tuple[int, int]


def margin_px(thresholds: ImFISHThresholds) -> int:
    """Pixels around a nucleus that ``measure_nuclei`` looks at."""
    settings = thresholds.settings
    ring = thresholds.px(settings.ring_gap_um) + thresholds.px(settings.ring_width_um, least=2)
    return max(ring, thresholds.px(settings.rim_um)) + _MARGIN_PX


def measure_nuclei(
    piece: Piece,
    thresholds: ImFISHThresholds,
    wanted: Collection[int] | None = None,
    windows: list[tuple[slice, slice] | None] | None = None,
) -> list[Measurement]:
    """Measure nuclei of a piece.

    Args:
        piece: nuclei and channels; around each wanted nucleus it reaches ``margin_px`` further, or to the field's edge.
        thresholds: the field's.
        wanted: labels to measure; None: all.
        windows: rows and columns of each label (``scipy.ndimage.find_objects``), where known.

    Returns:
        One measurement a nucleus, by its first pixel.
    """
    windows = ndimage.find_objects(piece.labels) if windows is None else windows
    chosen = range(1, len(windows) + 1) if wanted is None else sorted(wanted)
    owners = _owners_of_spots(piece.labels, piece.spots, thresholds.px(thresholds.settings.rim_um))
    radius_px = thresholds.settings.min_diameter_um / thresholds.um_per_px / 2
    groups = group_sizes(piece.labels, windows, thresholds.settings.min_contact, math.pi * radius_px**2)
    spots_of: dict[int, list[int]] = {}
    for row, owner in enumerate(owners.tolist()):
        spots_of.setdefault(owner, []).append(row)
    measured = [
        _measure_one(piece, label, windows[label - 1], spots_of.get(label, []), groups.get(label, 1), thresholds)
        for label in chosen
        if windows[label - 1] is not None
    ]
    return sorted(measured, key=lambda one: one.first_yx)


def group_sizes(
    labels: np.ndarray, windows: list[tuple[slice, slice] | None], min_contact: float, min_area_px: float
) -> dict[int, int]:
    """How many nuclei touch one another, directly or through others.

    Args:
        labels: (h, w) int32.
        windows: rows and columns of each label.
        min_contact: part of the smaller one's extent that their common border has to exceed.
        min_area_px: smaller objects join what they touch, but are not counted.

    Returns:
        Label -> size of its group, at least 2, for labels that touch any other.
    """
    pairs = []
    # Two pixels apart: nuclei that a line of one pixel parts touch too.
    for one, other in ((labels[:, :-2], labels[:, 2:]), (labels[:-2], labels[2:])):
        here = (one != other) & (one > 0) & (other > 0)
        pairs.append(np.stack([one[here], other[here]], axis=1))
    touching = np.sort(np.concatenate(pairs), axis=1)
    if not len(touching):
        return {}
    edges, twice = np.unique(touching, axis=0, return_counts=True)
    parent: dict[int, int] = {}

    def root(label: int) -> int:
        while parent.setdefault(label, label) != label:
            label = parent[label]
        return label

    for (first, second), count in zip(edges.tolist(), twice.tolist(), strict=True):
        smaller = min(_extent(windows[first - 1]), _extent(windows[second - 1]))
        if count / 2 > min_contact * smaller:
            parent[root(first)] = root(second)
    roots = {label: root(label) for label in parent}
    sizes: dict[int, int] = {}
    for label, top in roots.items():
        window = windows[label - 1]
        is_nucleus = np.count_nonzero(labels[window] == label) >= min_area_px
        sizes[top] = sizes.get(top, 0) + int(is_nucleus)
    return {label: max(sizes[top], 2) for label, top in roots.items()}


def _extent(window: tuple[slice, slice]) -> int:
    return max(side.stop - side.start for side in window)


def _owners_of_spots(labels: np.ndarray, spots: np.ndarray, rim_px: int) -> np.ndarray:
    """Label of the nucleus each spot lies in, or the nearest at most ``rim_px`` away, else 0; int64 (S,)."""
    owners = np.zeros(len(spots), np.int64)
    middles = np.floor(spots[:, :2] + 0.5).astype(np.int64)
    reach = range(-rim_px, rim_px + 1)
    steps = sorted((dy * dy + dx * dx, dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= rim_px**2)
    for _, dy, dx in steps:
        ys, xs = middles[:, 0] + dy, middles[:, 1] + dx
        inside = (ys >= 0) & (xs >= 0) & (ys < labels.shape[0]) & (xs < labels.shape[1])
        free = inside & (owners == 0)
        owners[free] = labels[ys[free], xs[free]]
    return owners


def _measure_one(
    piece: Piece,
    label: int,
    window: tuple[slice, slice],
    spot_rows: list[int],
    group: int,
    thresholds: ImFISHThresholds,
) -> Measurement:
    margin = margin_px(thresholds)
    around = tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, length))
        for side, length in zip(window, piece.labels.shape, strict=True)
    )
    labels = piece.labels[around]
    mask = labels == label
    others = (labels > 0) & ~mask
    settings = thresholds.settings
    ring = cytoplasm_ring(
        mask, others, thresholds.px(settings.ring_gap_um), thresholds.px(settings.ring_width_um, least=2)
    )
    dapi = np.ascontiguousarray(piece.dapi[around], np.float32)
    smooth = smoothed(dapi)
    level = median(dapi[mask])
    contrast = level - (median(dapi[ring]) if ring.any() else 0.0)
    has_ring = piece.cd45 is not None and bool(ring.any())
    cep8 = median(piece.cep8[around][mask])
    spots = piece.spots[spot_rows].tolist()
    x0, y0 = piece.origin_xy
    ys, xs = np.nonzero(mask)
    ys, xs = ys + (around[0].start + y0), xs + (around[1].start + x0)
    box = (window[1].start + x0, window[0].start + y0, window[1].stop + x0, window[0].stop + y0)
    return Measurement(
        first_yx=(int(ys[0]), int(xs[0])),
        box_xyxy=box,
        centroid_yx=(int(ys.sum()) / len(ys), int(xs.sum()) / len(xs)),
        area_px=len(ys),
        solidity=solidity(mask),
        bright_share=float(np.count_nonzero(smooth[mask] > level + (BRIGHT_FACTOR - 1) * contrast) / len(ys)),
        edge_px=edge_blur_px(smooth, mask, others, contrast),
        group=group,
        on_border=box[0] == 0 or box[1] == 0 or box[2] == piece.field_wh[0] or box[3] == piece.field_wh[1],
        dapi=contrast,
        cd45_ring=median(piece.cd45[around][ring]) if has_ring else None,
        cep8=cep8,
        spots_yx=tuple((y + y0, x + x0) for y, x, _ in spots),
        spots_snr=tuple(snr for *_, snr in spots),
        spots_height=tuple(_height(piece.cep8, y, x) - cep8 for y, x, _ in spots),
    )


def _height(plane: np.ndarray, y: float, x: float) -> float:
    """Grey value of a spot: mean of 3 x 3 pixels, the middle ones weighing more."""
    row, column = math.floor(y + 0.5), math.floor(x + 0.5)
    rows = np.clip((row - 1, row, row + 1), 0, plane.shape[0] - 1)
    columns = np.clip((column - 1, column, column + 1), 0, plane.shape[1] - 1)
    return float((plane[np.ix_(rows, columns)].astype(np.float64) * _SPOT_WEIGHTS).sum())
