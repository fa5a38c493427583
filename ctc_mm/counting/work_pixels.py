"""From the pixels in which a slide was looked at to those of the slide: places, areas, what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctc_mm.counting.damaged_cells import drops_from
from ctc_mm.counting.records import AnalysedArea, Drop
from ctc_mm.imaging.field import RegionXYXY
from ctc_mm.imaging.rectangles import covered_px


@dataclass(frozen=True)
class WorkPixels:
    """How the pixels that a slide was looked at in lie on it: as they are, or resampled to the model's size.

    Attributes:
        size_wh: the slide at level 0.
        work_wh: the slide as it was read; its edges are the slide's.
    """

    size_wh: tuple[int, int]
    work_wh: tuple[int, int]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A place in pixels of the slide."""
        # Multiplied first: edges fall on edges exactly.
        return x * self.size_wh[0] / self.work_wh[0], y * self.size_wh[1] / self.work_wh[1]

    def box(self, box_xyxy: Sequence[float]) -> tuple[float, float, float, float]:
        """A box in pixels of the slide."""
        x0, y0, x1, y1 = box_xyxy
        return *self.point(x0, y0), *self.point(x1, y1)

    def region(self, region_xyxy: Sequence[int]) -> RegionXYXY:
        """A region in whole pixels of the slide."""
        x0, y0, x1, y1 = (round(value) for value in self.box(region_xyxy))
        return x0, y0, x1, y1

    def area_px(self, work_px: int) -> int:
        """An area in whole pixels of the slide."""
        return round(work_px * (self.size_wh[0] * self.size_wh[1]) / (self.work_wh[0] * self.work_wh[1]))

    def drops(self, losses: Mapping[str, Any]) -> tuple[Drop, ...]:
        """The records of ``damaged_cells.losses_of``, in pixels of the slide."""
        return tuple(
            replace(one, area_px=self.area_px(one.area_px), regions_xyxy=tuple(map(self.region, one.regions_xyxy)))
            for one in drops_from(losses)
        )

    def area(
        self,
        losses: Mapping[str, Any],
        lost_xyxy: Sequence[Sequence[int]] = (),
        empty_xyxy: Sequence[Sequence[int]] = (),
    ) -> AnalysedArea:
        """How much was looked at: what lies in a gap was not imaged, what is lost of empty parts is lost all the same.

        Args:
            losses: of ``damaged_cells.losses_of``.
            lost_xyxy: what was not looked at for other reasons, half-open work pixels.
            empty_xyxy: what was taken for empty.
        """
        gaps = losses["gaps_xyxy"]
        not_seen = [*gaps, *losses["damaged_xyxy"], *lost_xyxy]
        up_to = [covered_px(regions) for regions in (gaps, not_seen, [*not_seen, *empty_xyxy])]
        gap, lost, empty = (self.area_px(px) for px in (up_to[0], up_to[1] - up_to[0], up_to[2] - up_to[1]))
        return AnalysedArea(self.size_wh[0] * self.size_wh[1] - gap - lost - empty, empty, lost, gap)
