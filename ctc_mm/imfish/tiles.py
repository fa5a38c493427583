"""Nuclei of a tile: each measured by exactly one tile, and there as if the whole field were in memory."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy import ndimage

from ctc_mm.imaging.field import Field
from ctc_mm.imaging.mask_outlines import outline_polygons
from ctc_mm.imaging.nuclei import NUCLEUS_HALO_PX, segment_nuclei, segment_nucleus_tile
from ctc_mm.imaging.spots import SPOT_HALO_PX, find_spots
from ctc_mm.imfish.first_pass import Region
from ctc_mm.imfish.measure import Measurement, Piece, margin_px, measure_nuclei
from ctc_mm.imfish.thresholds import ImFISHThresholds

# What is read starts and ends on multiples of this: vector instructions round the last pixels of a row their own way.
ALIGN_PX = 64
# Room for a nucleus that hangs over the tile's edge, beside its surroundings.
OVERHANG_PX = 64
# Outlines are for people and programs that show them; they may leave the pixels' edges this far.
OUTLINE_TOLERANCE_PX = 0.75


class TileReader:
    """Reads pieces of a field and measures the nuclei in them; may be used by several threads.

    Args:
        field: the channels.
        thresholds: of the whole field.
        outlines: give each nucleus its outlines too.
    """

    def __init__(self, field: Field, thresholds: ImFISHThresholds, outlines: bool = False) -> None:
        self.field, self.thresholds, self.outlines = field, thresholds, outlines
        self._whole_labels = None
        if thresholds.settings.method != "robust":
            self._whole_labels = segment_nuclei(field.read(["dapi"])[0], thresholds.settings.method)
        self._margin_px = max(SPOT_HALO_PX, margin_px(thresholds))
        self._reach_px = max(self._margin_px + OVERHANG_PX, NUCLEUS_HALO_PX)

    def measure_tile(self, core: Region) -> list[Measurement]:
        """Measure the nuclei whose first pixel lies in ``core``, by first pixel."""
        groups = self._segment(self._grown(core, self._reach_px))
        whole, cut = set(), []
        # What is cut may begin elsewhere once it is whole: also what lies a little outside the core is looked at.
        around = tuple(value + step for value, step in zip(core, (-OVERHANG_PX,) * 2 + (OVERHANG_PX,) * 2, strict=True))
        for number in groups.numbers:
            if self._is_whole(groups, number):
                whole.add(number)
            elif groups.overlaps(number, around):
                cut.append(number)
        found = {one.first_yx: one for one in self._measure(groups, whole, core)}
        for number in cut:
            again = self._measure_again(core, *groups.pixels_in(number, around))
            found |= {one.first_yx: one for one in again}
        return [found[first] for first in sorted(found)]

    def _measure_again(self, core: Region, ys: np.ndarray, xs: np.ndarray) -> list[Measurement]:
        """Measure the nuclei around some pixels of the core, from a piece that holds all they are connected with."""
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        reach = self._reach_px
        while True:
            groups = self._segment(self._grown(box, reach))
            numbers = groups.at(ys, xs)
            if all(self._is_whole(groups, number) for number in numbers):
                return self._measure(groups, numbers, core)
            boxes = [groups.box(number) for number in numbers]
            box = tuple(int(value) for value in (*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:]))
            reach *= 2

    def _segment(self, region: Region) -> _Groups:
        x0, y0, x1, y1 = region
        if self._whole_labels is not None:
            return _Groups(self._whole_labels[y0:y1, x0:x1].copy(), None, region, self._read("dapi", region))
        dapi = self._read("dapi", region)
        labels, settled = segment_nucleus_tile(dapi, self.thresholds.nuclei, (x0, y0))
        return _Groups(labels, settled, region, dapi)

    def _measure(self, groups: _Groups, numbers: set[int], core: Region) -> list[Measurement]:
        wanted = groups.labels_starting_in(core, numbers)
        if not wanted:
            return []
        cep8 = self._read("cep8", groups.region)
        cd45 = self._read("cd45", groups.region) if self.thresholds.cd45 is not None else None
        spots = find_spots(cep8, levels=self.thresholds.spots, origin_xy=groups.region[:2])
        piece = Piece(groups.labels, groups.dapi, cep8, cd45, spots, groups.region[:2], self.field.size_wh)
        measured = measure_nuclei(piece, self.thresholds, wanted, groups.windows)
        if not self.outlines:
            return measured
        outlines = {groups.first_yx(label): groups.outlines_xy(label) for label in wanted}
        return [replace(one, outlines_xy=outlines[one.first_yx]) for one in measured]

    def _read(self, channel: str, region: Region) -> np.ndarray:
        return self.field.read([channel], region)[0]

    def _grown(self, box: Region, reach: int) -> Region:
        """A box with ``reach`` pixels and more around it, aligned, inside the field."""
        width, height = self.field.size_wh
        x0, y0 = (max(start - reach, 0) // ALIGN_PX * ALIGN_PX for start in box[:2])
        x1, y1 = (
            min(-(-(end + reach) // ALIGN_PX) * ALIGN_PX, side)
            for end, side in zip(box[2:], (width, height), strict=True)
        )
        return x0, y0, x1, y1

    def _is_whole(self, groups: _Groups, number: int) -> bool:
        """Whether all that decides the nuclei of a group lies in what was read, or the field ends there."""
        box, region = groups.box(number), groups.region
        for axis, side in enumerate(self.field.size_wh):
            if region[axis] > 0 and box[axis] - self._margin_px < region[axis]:
                return False
            if region[axis + 2] < side and box[axis + 2] + self._margin_px > region[axis + 2]:
                return False
        return number not in groups.unsettled


class _Groups:
    """Groups of nuclei that touch, or nearly, in a segmented region; numbered from 1."""

    def __init__(self, labels: np.ndarray, settled: np.ndarray | None, region: Region, dapi: np.ndarray) -> None:
        self.labels, self.region, self.dapi = labels, region, dapi
        self.windows = ndimage.find_objects(labels)
        near = cv2.dilate((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        count, self._parts, self._stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8, ltype=cv2.CV_32S)
        self.numbers = range(1, count)
        self._starts = [self._first_pixel(label, window) for label, window in enumerate(self.windows, start=1)]
        # Groups with a nucleus that the region's edges may have changed.
        self.unsettled: set[int] = set()
        if settled is not None:
            places = [self._starts[label - 1] for label in np.flatnonzero(~settled)]
            self.unsettled = {int(self._parts[place]) for place in places}

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
        for label, place in enumerate(self._starts, start=1):
            if place is None:
                continue
            y, x = place[0] + self.region[1], place[1] + self.region[0]
            in_core = core[0] <= x < core[2] and core[1] <= y < core[3]
            if in_core and int(self._parts[place]) in numbers:
                found.append(label)
        return found

    def first_yx(self, label: int) -> tuple[int, int]:
        """First pixel of a label in the field."""
        y, x = self._starts[label - 1]
        return y + self.region[1], x + self.region[0]

    def outlines_xy(self, label: int) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Outlines of a label in pixels of the field."""
        window = self.windows[label - 1]
        place = (window[1].start + self.region[0], window[0].start + self.region[1])
        polygons = outline_polygons(self.labels[window] == label, place, OUTLINE_TOLERANCE_PX)
        return tuple(tuple((x, y) for x, y in polygon) for polygon in polygons)

    def _first_pixel(self, label: int, window: tuple[slice, slice] | None) -> tuple[int, int] | None:
        """Row and column of a label's first pixel; None for a number that no pixel has."""
        if window is None:
            return None
        row = window[0].start
        return row, window[1].start + int(np.argmax(self.labels[row, window[1]] == label))

    def _window(self, box: Region) -> tuple[slice, slice]:
        x0, y0 = self.region[:2]
        return slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0)
