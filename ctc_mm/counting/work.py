"""What any process does for a run, here or on another machine: look over a slide, measure units of tiles.

Errors travel as text beside the results, so that a bad slide fails alone wherever it is worked on.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ctc_mm.cli import TRACEBACK_VARIABLE, message_of
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import FirstPass, JsonDict, Route, SlidePlan, TileResult, TileTask
from ctc_mm.counting.units import Unit
from ctc_mm.errors import CTCError


@dataclass(frozen=True, eq=False)
class Prepared:
    """A slide that was planned and looked over once; ``error`` in their place where that failed."""

    plan: SlidePlan | None = None
    first: FirstPass | None = None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class UnitTask:
    """A unit of a slide to measure."""

    plan: SlidePlan
    first: FirstPass
    unit: Unit


@dataclass(frozen=True)
class UnitResult:
    """Payloads of a unit's tiles in their order; ``error`` where the slide's fault kept one from being measured."""

    slide: str
    unit: Unit
    payloads: tuple[JsonDict, ...] = ()
    error: str | None = None


def describe(error: BaseException) -> str:
    """What went wrong, in one line; where it is a fault of the program its kind, and the trace if it is asked for."""
    expected = isinstance(error, CTCError | ValueError | OSError)
    message = message_of(error) if expected else f"{type(error).__name__}: {message_of(error)}"
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        message += "\n" + "".join(traceback.format_exception(error))
    return message


def prepare(route: Route, spec: SlideSpec, first: FirstPass | None = None) -> Prepared:
    """Plan a slide, and look over it unless that was done before."""
    try:
        plan = route.plan(spec)
        return Prepared(plan, first or route.first_pass(plan))
    except Exception as error:  # whatever a file does to its reader: this slide fails, the others go on
        return Prepared(error=describe(error))


def measure_units(
    route: Route, tasks: Iterable[UnitTask], on_tile: Callable[[], None] | None = None
) -> Iterator[UnitResult]:
    """Measure units of one or several slides in one stream, results in the order of the tasks.

    Args:
        route: measures.
        tasks: taken as they are needed.
        on_tile: called after each tile.
    """
    given: deque[UnitTask] = deque()

    def tiles() -> Iterator[TileTask]:
        for task in tasks:
            given.append(task)
            yield from (TileTask(task.plan, task.first, tile) for tile in task.unit.tiles)

    results: list[TileResult] = []
    for result in _measure_tiles(route, tiles()):
        results.append(result)
        if on_tile is not None:
            on_tile()
        if len(results) == len(given[0].unit.tiles):
            task = given.popleft()
            error = next((one.error for one in results if one.error is not None), None)
            payloads = tuple(one.payload for one in results) if error is None else ()
            yield UnitResult(task.plan.spec.name, task.unit, payloads, error)
            results = []


def _measure_tiles(route: Route, tasks: Iterator[TileTask]) -> Iterator[TileResult]:
    """Measure as the route does; where it raises, the slides in flight are measured again one by one to find whose."""
    given: deque[TileTask] = deque()

    def noted() -> Iterator[TileTask]:
        for task in tasks:
            given.append(task)
            yield task

    while True:
        try:
            for result in route.measure(noted()):
                _check_order(route, given[0] if given else None, result)
                given.popleft()
                yield result
            _check_all_given(route, given)
            return
        except Exception:
            if not given:  # no slide's fault
                raise
        suspects, given = given, deque()
        while suspects:
            yield from _measure_one_slide(route, suspects)


def _measure_one_slide(route: Route, suspects: deque[TileTask]) -> Iterator[TileResult]:
    """Measure the first slide of the suspects alone, and take its tasks from them; an error is given with each tile."""
    slide = suspects[0].plan.spec.name
    left: deque[TileTask] = deque()
    while suspects and suspects[0].plan.spec.name == slide:
        left.append(suspects.popleft())
    try:
        for result in route.measure(iter(list(left))):
            _check_order(route, left[0] if left else None, result)
            left.popleft()
            yield result
        _check_all_given(route, left)
    except Exception as error:
        reason = describe(error)
        yield from (TileResult(slide, task.tile, {}, reason) for task in left)


def _check_order(route: Route, task: TileTask | None, result: TileResult) -> None:
    expected = None if task is None else (task.plan.spec.name, task.tile)
    if expected != (result.slide, result.tile):
        raise RuntimeError(
            f"route {route.name!r} gave the result of {(result.slide, result.tile)} where {expected} was due"
        )


def _check_all_given(route: Route, left: deque[TileTask]) -> None:
    if left:
        raise RuntimeError(f"route {route.name!r} gave no result for {len(left)} tiles, the first {left[0].tile}")
