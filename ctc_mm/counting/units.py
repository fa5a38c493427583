"""Units of work: ranges of tiles of a slide, the same however many processes share them."""

from __future__ import annotations

from dataclasses import dataclass

from ctc_mm.counting.route import SlidePlan

# What is lost at most when a process dies, and what one message between machines carries: seconds of work.
UNIT_PX = 16_000_000


@dataclass(frozen=True)
class Unit:
    """Tiles ``first`` to ``stop`` (not included) of a slide."""

    first: int
    stop: int

    @property
    def tiles(self) -> range:
        """Places of its tiles."""
        return range(self.first, self.stop)


def units_of(plan: SlidePlan) -> list[Unit]:
    """Divide the tiles of a slide into units of about ``UNIT_PX`` pixels, a tile at least."""
    width, height = plan.size_wh
    tile_px = min(plan.tile_px, width) * min(plan.tile_px, height)
    step = max(1, UNIT_PX // tile_px)
    return [Unit(first, min(first + step, plan.n_tiles)) for first in range(0, plan.n_tiles, step)]


def pixels_of(plan: SlidePlan, unit: Unit) -> int:
    """Pixels that the tiles of a unit hold, about: tiles at the edges count as whole ones."""
    width, height = plan.size_wh
    return len(unit.tiles) * min(plan.tile_px, width) * min(plan.tile_px, height)
