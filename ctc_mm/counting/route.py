"""What a route is to the runner: it plans a slide, looks over it once, measures its tiles, and finishes the count.

The runner (run.py, ctc_mm/distributed) knows no route, and a route neither knows which machine measures which tile nor
in what order: ``measure`` must give the same payload for a tile whatever else it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ctc_mm.counting.records import Overview, SlideCount, SlideSpec

JsonDict = dict[str, Any]


@dataclass(frozen=True)
class RouteSpec:
    """All that decides what a route does with a slide; it can be sent to another process, which builds it there.

    Attributes:
        name: ``detect``, ``classify``, ``imfish``, or ``package.module:Class`` of your own, which Python must be able
            to import here and on every worker (PYTHONPATH).
        settings: of the route, as JSON values; paths of config and weights among them. The route is built with this
            dict as its one argument.
    """

    name: str
    settings: JsonDict


@dataclass(frozen=True)
class SlidePlan:
    """How a slide is cut; made from its header alone.

    Attributes:
        spec: the slide.
        size_wh: its width and height.
        n_tiles: number of tiles; a tile is named by its place, row by row.
        tile_px: side of a tile in pixels of the slide.
        details: what else the route has to know, as JSON values.
    """

    spec: SlideSpec
    size_wh: tuple[int, int]
    n_tiles: int
    tile_px: int
    details: JsonDict


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What one look over the whole slide gave.

    Attributes:
        levels: data-dependent thresholds and what else the tiles need, as JSON values.
        overview: a small picture of the slide.
    """

    levels: JsonDict
    overview: Overview


@dataclass(frozen=True, eq=False)
class TileTask:
    """One tile to measure."""

    plan: SlidePlan
    first: FirstPass
    tile: int


@dataclass(frozen=True)
class TileResult:
    """What was found on a tile.

    Attributes:
        slide: name of the slide.
        tile: place of the tile.
        payload: of the route, as JSON values (floats survive it to the last bit).
        error: why the tile could not be measured, where that is the slide's fault; the slide fails then.
    """

    slide: str
    tile: int
    payload: JsonDict
    error: str | None = None


class Route(Protocol):
    """A way from the pixels of a slide to its cells.

    Built as ``Class(settings)``, with the one dict of ``RouteSpec.settings``: what decides the result, and beside it
    ``tile_px``, ``threads``, ``batch_size`` and the like where they are given. docs/guides/own_route.md has an example.
    """

    name: str

    def identity(self) -> JsonDict:
        """Everything but the slide that decides the result: settings, hashes of config and weights. JSON values.

        How the work is cut and spread (tiles, batches, threads, processes) is not part of it: with it in, a run that
        goes on with other tiles would count every slide anew.
        """

    def plan(self, spec: SlideSpec) -> SlidePlan:
        """Open the slide, check that it fits (channels, pixel size), and cut it.

        Raises:
            ImageReadError: it cannot be read.
            SlideError: it does not fit.
        """

    def first_pass(self, plan: SlidePlan) -> FirstPass:
        """Look over the whole slide once."""

    def measure(self, tasks: Iterable[TileTask]) -> Iterator[TileResult]:
        """Measure tiles of one or several slides, results in the order of the tasks; tasks are taken as needed."""

    def finish(self, plan: SlidePlan, first: FirstPass, results: Sequence[TileResult]) -> SlideCount:
        """Merge all tiles of a slide, in the order of their places, into its cells."""
