"""Nuclei of a tile: each measured by exactly one tile, and there as if the whole field were in memory."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from ctc_mm.imaging.field import Field
from ctc_mm.imaging.nuclei import NUCLEUS_HALO_PX, segment_nuclei
from ctc_mm.imaging.spots import SPOT_HALO_PX, find_spots
from ctc_mm.imfish.first_pass import Region
from ctc_mm.imfish.measure import Measurement, Piece, margin_px, measure_nuclei
from ctc_mm.imfish.thresholds import ImFISHThresholds

# What is read starts and ends on multiples of this: vector instructions round the last pixels of a row their own way.
ALIGN_PX = 64
# Room for a nucleus that hangs over the tile's edge, beside its surroundings.
OVERHANG_PX = 64


class TileReader:
    """Reads pieces of a field and measures the nuclei in them; may be used by several threads.

    Args:
        field: the channels.
        thresholds: of the whole field.
    """

    def __init__(self, field: Field, thresholds: ImFISHThresholds) -> None:
        self.field, self.thresholds = field, thresholds
        settings = thresholds.settings
        self._whole_labels = None
        support = SPOT_HALO_PX
        if settings.method == "robust":
            support = max(support, NUCLEUS_HALO_PX)
        else:
            self._whole_labels = segment_nuclei(field.read(["dapi"])[0], settings.method)
        self._margin_px = max(support, margin_px(thresholds))

    def measure_tile(self, core: Region) -> list[Measurement]:
        """Measure the nuclei whose first pixel lies in ``core``, by first pixel."""
        region = self._grown(core, self._margin_px + OVERHANG_PX)
        parts = _Components(self._segment(region), region)
        touching = [number for number in parts.numbers if parts.overlaps(number, core)]
        whole = {number for number in touching if self._is_whole(parts.box(number), region)}
        found = {one.first_yx: one for one in self._measure(parts, whole, core)}
        for number in touching:
            if number not in whole:
                found |= {one.first_yx: one for one in self._measure_again(core, *parts.pixels_in(number, core))}
        return [found[first] for first in sorted(found)]

    def _measure_again(self, core: Region, ys: np.ndarray, xs: np.ndarray) -> list[Measurement]:
        """Measure the nuclei around some pixels of the core, from a piece that holds all they are connected with."""
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        reach = self._margin_px + OVERHANG_PX
        while True:
            region = self._grown(box, reach)
            parts = _Components(self._segment(region), region)
            numbers = parts.at(ys, xs)
            boxes = [parts.box(number) for number in numbers]
            if all(self._is_whole(one, region) for one in boxes):
                return self._measure(parts, numbers, core)
            box = tuple(int(value) for value in (*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:]))
            reach *= 2

    def _segment(self, region: Region) -> np.ndarray:
        x0, y0, x1, y1 = region
        if self._whole_labels is not None:
            return self._whole_labels[y0:y1, x0:x1].copy()
        dapi = self.field.read(["dapi"], region)[0]
        return segment_nuclei(dapi, "robust", levels=self.thresholds.nuclei, origin_xy=(x0, y0))

    def _measure(self, parts: _Components, numbers: set[int], core: Region) -> list[Measurement]:
        wanted = parts.labels_starting_in(core, numbers)
        if not wanted:
            return []
        names = ["dapi", "cep8"] + (["cd45"] if self.thresholds.cd45 is not None else [])
        planes = self.field.read(names, parts.region)
        spots = find_spots(planes[1], levels=self.thresholds.spots, origin_xy=parts.region[:2])
        cd45 = planes[2] if len(names) > 2 else None
        piece = Piece(parts.labels, planes[0], planes[1], cd45, spots, parts.region[:2], self.field.size_wh)
        return measure_nuclei(piece, self.thresholds, wanted, parts.windows)

    def _grown(self, box: Region, reach: int) -> Region:
        """A box with ``reach`` pixels and more around it, aligned, inside the field."""
        width, height = self.field.size_wh
        x0, y0 = (max(start - reach, 0) // ALIGN_PX * ALIGN_PX for start in box[:2])
        x1, y1 = (
            min(-(-(end + reach) // ALIGN_PX) * ALIGN_PX, side)
            for end, side in zip(box[2:], (width, height), strict=True)
        )
        return x0, y0, x1, y1

    def _is_whole(self, box: Region, region: Region) -> bool:
        """Whether all that decides the nuclei in ``box`` lies in ``region``, or the field ends there."""
        for axis, side in enumerate(self.field.size_wh):
            if region[axis] > 0 and box[axis] - self._margin_px < region[axis]:
                return False
            if region[axis + 2] < side and box[axis + 2] + self._margin_px > region[axis + 2]:
                return False
        return True


class _Components:
    """Groups of nuclei that touch, or nearly, in a segmented region; numbered from 1."""

    def __init__(self, labels: np.ndarray, region: Region) -> None:
        self.labels, self.region = labels, region
        self.windows = ndimage.find_objects(labels)
        near = cv2.dilate((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        count, self._parts, self._stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8, ltype=cv2.CV_32S)
        self.numbers = range(1, count)

    def box(self, number: int) -> Region:
        """Box of a group in the field, half-open."""
        left, top, width, height = (int(value) for value in self._stats[number, :4])
        x, y = left + self.region[0], top + self.region[1]
        return x, y, x + width, y + height

    def overlaps(self, number: int, core: Region) -> bool:
        """Whether a pixel of a nucleus of the group lies in ``core``."""
        x0, y0, x1, y1 = self.box(number)
        if x0 >= core[0] and y0 >= core[1] and x1 <= core[2] and y1 <= core[3]:
            return True
        return len(self.pixels_in(number, core)[0]) > 0

    def pixels_in(self, number: int, core: Region) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns in the field of the pixels of the group's nuclei that lie in ``core``."""
        box = self.box(number)
        x0, y0 = max(box[0], core[0]), max(box[1], core[1])
        x1, y1 = max(min(box[2], core[2]), x0), max(min(box[3], core[3]), y0)
        window = self._window((x0, y0, x1, y1))
        ys, xs = np.nonzero((self._parts[window] == number) & (self.labels[window] > 0))
        return ys + y0, xs + x0

    def at(self, ys: np.ndarray, xs: np.ndarray) -> set[int]:
        """Groups that hold a nucleus at one of these pixels of the field."""
        ys, xs = ys - self.region[1], xs - self.region[0]
        return {int(number) for number in np.unique(self._parts[ys, xs][self.labels[ys, xs] > 0])}

    def labels_starting_in(self, core: Region, numbers: set[int]) -> list[int]:
        """Labels of the groups ``numbers`` whose first pixel lies in ``core``."""
        found = []
        for label, window in enumerate(self.windows, start=1):
            if window is None:
                continue
            row = window[0].start
            column = window[1].start + int(np.argmax(self.labels[row, window[1]] == label))
            x, y = column + self.region[0], row + self.region[1]
            in_core = core[0] <= x < core[2] and core[1] <= y < core[3]
            if in_core and int(self._parts[row, column]) in numbers:
                found.append(label)
        return found

    def _window(self, box: Region) -> tuple[slice, slice]:
        x0, y0 = self.region[:2]
        return slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0)
