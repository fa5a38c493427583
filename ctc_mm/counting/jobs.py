"""A slide on its way through a run: what is left to do of it, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ctc_mm.cli import message_of
from ctc_mm.counting.finishing import Finisher
from ctc_mm.counting.outputs import OutputOptions, has_card, outputs_key, remove_slide, write_slide
from ctc_mm.counting.progress import RunProgress
from ctc_mm.counting.records import GAP, SlideCount, SlideSpec
from ctc_mm.counting.route import FirstPass, Route, RouteSpec, SlidePlan
from ctc_mm.counting.state import SlideState
from ctc_mm.counting.units import Unit, units_of
from ctc_mm.counting.work import Prepared, UnitResult, describe
from ctc_mm.errors import SlideError

T = TypeVar("T")


@dataclass(frozen=True)
class RunContext:
    """What all slides of a run share."""

    route_spec: RouteSpec
    route: Route
    identity: Mapping[str, Any]
    out_dir: Path
    options: OutputOptions
    progress: RunProgress
    finisher: Finisher


@dataclass(frozen=True)
class SlideOutcome:
    """How a slide ended.

    Attributes:
        name: of the slide.
        folder: with its results.
        error: why it failed; None where it was counted.
        counts: cells by class.
        complete: whether every pixel of it was looked at.
        lost: what was not looked at, in words.
        kept: whether an earlier run had finished it.
    """

    name: str
    folder: Path
    error: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True
    lost: str = ""
    kept: bool = False

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        if self.error is not None:
            return f"{self.name}: FAILED: {self.error}"
        found = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        before = " (finished before)" if self.kept else ""
        lacks = "" if self.complete else f"; INCOMPLETE: {self.lost}"
        return f"{self.name}: {found}{before}{lacks}"


class SlideJob:
    """One slide of a run; its methods are called in the process that the user has started, by one thread.

    With its last unit it is handed to the finisher, which ends it, maybe in a thread of its own.

    Attributes:
        spec: the slide.
        plan, first: known once it has begun, until it is over.
        outcome: None until it is over.
    """

    def __init__(self, spec: SlideSpec, context: RunContext) -> None:
        self.spec, self._context = spec, context
        self.plan: SlidePlan | None = None
        self.first: FirstPass | None = None
        self.outcome: SlideOutcome | None = None
        self._left: set[Unit] = set()
        self._folder = context.out_dir / spec.name
        self._key = outputs_key(spec, context.options)
        self._state: SlideState | None = None

    @property
    def name(self) -> str:
        """Name of the slide."""
        return self.spec.name

    def open_state(self) -> None:
        """Look up what earlier runs have left; a slide that they have finished is over with that."""
        self._guarded(self._open_state)

    def begin(self, prepared: Prepared) -> list[Unit]:
        """Take plan and first pass; give the units that are left to measure, none where the slide is over."""
        if prepared.error is not None:
            self.fail(prepared.error)
        return self._guarded(lambda: self._begin(prepared)) or [] if self.outcome is None else []

    def take(self, result: UnitResult) -> None:
        """Take what was found on a unit; after the last one the slide is finished and its files are written."""
        if self.outcome is None:
            if result.error is not None:
                self.fail(result.error)
            else:
                self._guarded(lambda: self._take(result))

    def fail(self, reason: str) -> None:
        """End with an error; no file of the slide is left that could be taken for a result."""
        if self.outcome is None:
            try:
                remove_slide(self._folder)
            except OSError as error:
                reason += f"; files of it are left, and are no result ({message_of(error)})"
            self._end(SlideOutcome(self.name, self._folder, error=reason))

    def _open_state(self) -> None:
        context = self._context
        self._state = SlideState(context.out_dir, self.spec, context.identity)
        if self._state.changed:
            start = "counted anew" if self._state.was_counted else "not counted before, begun anew"
            context.progress.tell(f"{self.name}: {start}, since this has changed: {'; '.join(self._state.changed)}")
        note = self._state.done(self._key)
        is_done = note is not None and has_card(self._folder)
        if not is_done:
            remove_slide(self._folder)  # it may be stopped, and must not be found with former results
        self._state.begin()
        if is_done:
            self._end(SlideOutcome(self.name, self._folder, kept=True, **note))
            return
        self.first = self._state.first_pass()

    def _begin(self, prepared: Prepared) -> list[Unit]:
        self.plan = prepared.plan
        self.first = self.first or self._state.save_first_pass(self.plan, prepared.first)
        left = self._state.units_left(self.plan)
        self._left = set(left)
        known = sum(len(unit.tiles) for unit in units_of(self.plan))
        self._context.progress.add_tiles(known, known - sum(len(unit.tiles) for unit in left))
        if not left:
            self._submit_finish()
        return left

    def _take(self, result: UnitResult) -> None:
        self._state.save_unit(self.plan, result.unit, result.payloads)
        self._left.discard(result.unit)
        if not self._left:
            self._submit_finish()

    def _submit_finish(self) -> None:
        self._context.finisher.submit(lambda: self._guarded(self._finish))

    def _finish(self) -> None:
        context = self._context
        count = context.route.finish(self.plan, self.first, list(self._state.results(self.plan)))
        if count.area.share == 0:  # a count of 0 cells would be read as a result
            raise SlideError(f"slide {self.name}: nothing of it could be looked at: {_reasons(count)}")
        files = write_slide(self._folder, count, context.options, context.route_spec)
        note = {"counts": count.counts, "complete": count.is_complete, "lost": _lost(count)}
        self._state.save_done(self._key, files, note)
        self._end(SlideOutcome(self.name, self._folder, **note))

    def _end(self, outcome: SlideOutcome) -> None:
        self.outcome = outcome
        self.plan = self.first = None  # the overview's memory
        self._context.progress.slide_done(str(outcome))

    def _guarded(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Exception as error:  # whatever its files or a full disk do: this slide fails, the others go on
            self.fail(describe(error))
            return None


def _lost(count: SlideCount) -> str:
    """What of the slide was not looked at, in words."""
    share = 1 - count.area.share
    return "" if count.is_complete else f"{share:.2%} of the slide was not looked at ({_reasons(count)})"


def _reasons(count: SlideCount) -> str:
    return "; ".join(sorted({drop.reason for drop in count.drops if drop.area_px and drop.kind != GAP}))
