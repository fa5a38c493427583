"""The flow of windows through a detector: reading, preparation, model and collection work at the same time.

Each step runs ahead of the next by a bounded number of tiles, windows or batches, so memory does not depend on the size
of a slide. Batches go across tiles and slides; results come back tile by tile, in the order of the tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ctc_mm.counting.engines.base import DetectorEngine, WindowDetections
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.route import JsonDict, TileResult, TileTask
from ctc_mm.counting.windows import cut_window
from ctc_mm.imaging.field import RegionXYXY

T = TypeVar("T")

TILES_AHEAD = 2
# Prepared while the model is busy with one.
BATCHES_AHEAD = 2


@dataclass(eq=False)
class TileWindows:
    """A tile on its way: what was read of it, and what was found so far.

    Attributes:
        task: whose tile it is.
        windows: numbers of the windows to look at.
        windows_xyxy: where they lie, int64 (N, 4).
        pixels: (h, w) or (h, w, 3) of ``region_xyxy``; let go once the windows are cut.
        region_xyxy: what was read.
        white_level: of the slide.
        error: why it could not be read.
        found: what counts of the findings so far, by window.
        full_windows: those in which the model found as much as it may, so that it may have left out more that counts.
    """

    task: TileTask
    windows: np.ndarray
    windows_xyxy: np.ndarray
    pixels: np.ndarray | None = None
    region_xyxy: RegionXYXY = (0, 0, 0, 0)
    white_level: float = 255.0
    error: str | None = None
    found: dict[int, WindowDetections] = field(default_factory=dict)
    full_windows: list[int] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether every window was looked at."""
        return self.error is not None or len(self.found) == len(self.windows)

    def result(self) -> TileResult:
        """What was found, in pixels of the field, window by window."""
        name, tile = self.task.plan.spec.name, self.task.tile
        if self.error is not None:
            return TileResult(name, tile, {}, self.error)
        payload: JsonDict = {"windows": [], "boxes_xyxy": [], "scores": [], "labels": []}
        for number, (left, top, _, _) in zip(self.windows.tolist(), self.windows_xyxy, strict=True):
            one = self.found[number]
            boxes = one.boxes_xyxy.astype(np.float64) + np.array([left, top, left, top])
            payload["windows"] += [number] * len(boxes)
            payload["boxes_xyxy"] += boxes.tolist()
            payload["scores"] += one.scores.astype(np.float64).tolist()
            payload["labels"] += one.labels.tolist()
        return TileResult(name, tile, payload | {"full_windows": sorted(self.full_windows)})


@dataclass(frozen=True, eq=False)
class _Window:
    """A window of a tile and a copy of its pixels: a view would keep the tile's until the batch has run."""

    tile: TileWindows
    number: int
    pixels: np.ndarray


class WindowStream:
    """Feeds the windows of tiles to a detector.

    Args:
        engine: the detector.
        read: reads a tile; runs in a thread, and puts what is the slide's fault in ``TileWindows.error``.
        least_scores: from which score a finding of each class is kept, float (C,).
        threads: windows prepared at once.
    """

    def __init__(
        self,
        engine: DetectorEngine,
        read: Callable[[TileTask], TileWindows],
        least_scores: np.ndarray,
        threads: int,
    ) -> None:
        self._engine, self._read, self._threads = engine, read, threads
        self._least_scores = least_scores

    def run(self, tasks: Iterable[TileTask]) -> Iterator[TileResult]:
        """Give the result of each task, in order; tasks are taken as they are needed."""
        on_the_way: deque[TileWindows] = deque()
        ahead = BATCHES_AHEAD * self._engine.batch_size + self._threads
        prepared = prefetch(self._prepare, self._windows(tasks, on_the_way), self._threads, ahead)
        batches = _batches(prepared, self._engine.batch_size)
        # The model runs here, in the caller's thread: torch keeps settings and working memory by thread.
        for batch in batches:
            for (window, _), one in zip(batch, self._detect(batch), strict=True):
                window.tile.found[window.number] = self._kept(one)
                if self._is_full(one):
                    window.tile.full_windows.append(window.number)
            yield from _done(on_the_way)
        yield from _done(on_the_way)

    def _windows(self, tasks: Iterable[TileTask], on_the_way: deque[TileWindows]) -> Iterator[_Window]:
        """Windows of the tiles as these are read; the tiles are put on the way."""
        for _, tile in prefetch(self._read, tasks, 1, TILES_AHEAD):
            on_the_way.append(tile)
            if tile.error is not None or tile.pixels is None:
                continue
            for number, window in zip(tile.windows.tolist(), tile.windows_xyxy, strict=True):
                yield _Window(tile, number, cut_window(tile.pixels, tile.region_xyxy, window).copy())
            tile.pixels = None

    def _prepare(self, window: _Window) -> np.ndarray:
        return prepare_window(self._engine, window.pixels, window.tile.white_level)

    def _detect(self, batch: tuple[tuple[_Window, np.ndarray], ...]) -> list[WindowDetections]:
        return self._engine(np.stack([prepared for _, prepared in batch]))

    def _kept(self, found: WindowDetections) -> WindowDetections:
        kept = found.scores.astype(np.float64) >= self._least_scores[found.labels]
        return WindowDetections(found.boxes_xyxy[kept], found.scores[kept], found.labels[kept])

    def _is_full(self, found: WindowDetections) -> bool:
        """Whether the model's limit may have cut off what counts.

        The limit takes the best, so what it cut off scores no more than the last that stayed. Where that is below any
        score that counts, nothing is lost; most engines leave such boxes out before they count them.
        """
        most = self._engine.info.max_per_img
        is_cut = most is not None and len(found.scores) >= most
        return is_cut and float(found.scores.min()) >= float(self._least_scores.min())


def prepare_window(engine: DetectorEngine, pixels: np.ndarray, white_level: float) -> np.ndarray:
    """What the model is shown of a window, see ``DetectorEngine.prepare``."""
    # The model's own loader refuses a window that is mostly above white; for the slide that was decided once.
    if pixels.dtype.kind == "f" or white_level < np.iinfo(pixels.dtype).max:
        pixels = np.minimum(pixels, pixels.dtype.type(white_level))
    return engine.prepare(pixels, white_level)


def _batches(pairs: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    pairs = iter(pairs)
    while batch := tuple(islice(pairs, size)):
        yield batch


def _done(on_the_way: deque[TileWindows]) -> Iterator[TileResult]:
    while on_the_way and on_the_way[0].is_done:
        yield on_the_way.popleft().result()


def payloads_of(results: Iterable[TileResult]) -> dict[str, list[Any]]:
    """The payloads of tiles, one after the other."""
    joined: dict[str, list[Any]] = {"windows": [], "boxes_xyxy": [], "scores": [], "labels": []}
    for result in results:
        for key, values in joined.items():
            values.extend(result.payload[key])
    return joined
