"""How far a run is: bars with the time left on a terminal, a line a slide elsewhere (a log of SLURM, say)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RunProgress(Protocol):
    """What a run tells while it goes on."""

    def start(self, n_slides: int) -> None:
        """Begin a run of so many slides."""

    def add_tiles(self, total: int, done: int = 0) -> None:
        """Tell a slide's number of tiles, and how many of them were measured before."""

    def tiles_done(self, number: int = 1) -> None:
        """Tell that tiles were measured."""

    def slide_done(self, line: str) -> None:
        """Tell that a slide is over: counted, kept or failed, as the line says."""

    def tell(self, line: str) -> None:
        """Tell a remark."""


class Silent:
    """Tells nothing: for use from Python."""

    def start(self, n_slides: int) -> None:
        """Tell nothing."""

    def add_tiles(self, total: int, done: int = 0) -> None:
        """Tell nothing."""

    def tiles_done(self, number: int = 1) -> None:
        """Tell nothing."""

    def slide_done(self, line: str) -> None:
        """Tell nothing."""

    def tell(self, line: str) -> None:
        """Tell nothing."""


class ConsoleProgress:
    """Bars of slides and tiles with the time left, on stderr; without a terminal a line for each slide.

    A context manager. Slides are opened as their turn comes: until then their tiles are reckoned as the mean of the
    slides that are known.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._slides = self._bars.add_task("slides", total=None, start=False)
        self._tiles = self._bars.add_task("tiles", total=None, start=False)
        self._n_slides = self._slides_over = self._slides_known = 0
        self._tiles_known = self._tiles_measured = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def start(self, n_slides: int) -> None:
        """Begin a run of so many slides."""
        self._n_slides, self._began = n_slides, time.monotonic()
        self._bars.start_task(self._slides)
        self._bars.start_task(self._tiles)
        self._bars.update(self._slides, total=n_slides)

    def add_tiles(self, total: int, done: int = 0) -> None:
        """Tell a slide's number of tiles, and how many of them were measured before."""
        self._slides_known += 1
        self._tiles_known += total - done
        self._show_tiles()

    def tiles_done(self, number: int = 1) -> None:
        """Tell that tiles were measured."""
        self._tiles_measured += number
        self._show_tiles()

    def slide_done(self, line: str) -> None:
        """Tell that a slide is over."""
        self._slides_over += 1
        self._bars.update(self._slides, completed=self._slides_over)
        self._show_tiles()
        left = "" if self._console.is_terminal else self._time_left()
        self.tell(f"[{self._slides_over}/{self._n_slides}] {line}{left}")

    def tell(self, line: str) -> None:
        """Tell a remark."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _tiles_expected(self) -> int:
        unopened = max(self._n_slides - max(self._slides_over, self._slides_known), 0)
        mean = self._tiles_known / self._slides_known if self._slides_known else 0
        return max(self._tiles_known + round(unopened * mean), self._tiles_measured)

    def _show_tiles(self) -> None:
        self._bars.update(self._tiles, total=self._tiles_expected(), completed=self._tiles_measured)

    def _time_left(self) -> str:
        tiles = self._tiles_expected() - self._tiles_measured
        if not tiles or not self._tiles_measured:
            return ""
        seconds = (time.monotonic() - self._began) / self._tiles_measured * tiles
        if seconds < 1:
            return ""
        return f" (about {seconds / 60:.0f} min left)" if seconds >= 90 else f" (about {seconds:.0f} s left)"
