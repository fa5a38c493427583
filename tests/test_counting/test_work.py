"""Tiles of several slides in one stream: order, and whose fault an error is."""

import re

import pytest

from ctc_mm.counting.records import Overview, SlideSpec
from ctc_mm.counting.route import FirstPass, SlidePlan, TileResult
from ctc_mm.counting.units import Unit
from ctc_mm.counting.work import UnitTask, describe, measure_units, prepare
from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.field_list import FieldSource

FIRST = FirstPass({}, Overview(None, 1.0))


class Batches:
    """Takes ``batch`` tasks before it gives their results, as a network does; ``bad`` slides make it raise."""

    name = "batches"

    def __init__(self, batch=3, bad=(), wrong_order=False, forgets=False):
        self.batch, self.bad, self.wrong_order, self.forgets = batch, bad, wrong_order, forgets

    def plan(self, spec):
        raise ImageReadError(f"{spec.name}.tif: is truncated")

    def measure(self, tasks):
        waiting = []
        for task in tasks:
            waiting.append(task)
            if len(waiting) == self.batch:
                yield from self._together(waiting)
                waiting = []
        if not self.forgets:
            yield from self._together(waiting)

    def _together(self, tasks):
        if any(task.plan.spec.name in self.bad for task in tasks):
            raise RuntimeError("out of memory")
        for task in reversed(tasks) if self.wrong_order else tasks:
            yield TileResult(task.plan.spec.name, task.tile, {"tile": task.tile})


def tasks_of(*slides, tiles=4, step=2):
    for name in slides:
        plan = SlidePlan(SlideSpec(name, FieldSource(name, name, {})), (10, 10), tiles, 5, {})
        yield from (UnitTask(plan, FIRST, Unit(first, min(first + step, tiles))) for first in range(0, tiles, step))


def seen(results):
    return [
        (one.slide, one.unit.first, [payload["tile"] for payload in one.payloads] if one.error is None else one.error)
        for one in results
    ]


def test_no_task():
    assert list(measure_units(Batches(), [])) == []


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_results_come_in_the_order_of_the_tasks(batch):
    told = []
    results = measure_units(Batches(batch), tasks_of("a", "b"), lambda: told.append(1))
    assert seen(results) == [("a", 0, [0, 1]), ("a", 2, [2, 3]), ("b", 0, [0, 1]), ("b", 2, [2, 3])]
    assert len(told) == 8


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
def test_an_error_is_the_fault_of_one_slide(batch):
    results = measure_units(Batches(batch, bad="b"), tasks_of("a", "b", "c"))
    error = "RuntimeError: out of memory"
    assert seen(results) == [
        ("a", 0, [0, 1]), ("a", 2, [2, 3]), ("b", 0, error), ("b", 2, error), ("c", 0, [0, 1]), ("c", 2, [2, 3]),
    ]  # fmt: skip


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def noted():
        for task in tasks_of("a", "b", "c"):
            taken.append(task)
            yield task

    results = measure_units(Batches(batch=2), noted())
    next(results)
    assert len(taken) == 1


def test_error_of_the_route_that_no_slide_has_caused():
    class Broken(Batches):
        def measure(self, tasks):
            raise RuntimeError("no model")
            yield

    with pytest.raises(RuntimeError, match="no model"):
        list(measure_units(Broken(), tasks_of("a")))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"wrong_order": True}, r"gave the result of \('a', 1\) where \('a', 0\) was due"),
        ({"forgets": True}, "gave no"),
    ],
    ids=["order", "forgotten"],
)
def test_route_that_breaks_its_contract_is_named(faults, said):
    results = list(measure_units(Batches(batch=2 if "wrong_order" in faults else 100, **faults), tasks_of("a")))
    assert len(results) == 2
    assert re.search(said, results[0].error)


def test_slide_that_cannot_be_planned():
    prepared = prepare(Batches(), SlideSpec("a", FieldSource("a", "a.tif", {})))
    assert (prepared.plan, prepared.first, prepared.error) == (None, None, "a.tif: is truncated")


def test_errors_in_words(monkeypatch):
    assert describe(ValueError("`tile_px` must be above 0")) == "`tile_px` must be above 0"
    assert describe(KeyError("levels")) == "KeyError: 'levels'"
    assert describe(FileNotFoundError(2, "No such file", "a.tif")).startswith("a.tif: No such file")
    monkeypatch.setenv("CTC_MM_TRACEBACK", "1")
    with pytest.raises(KeyError) as caught:
        raise KeyError("levels")
    assert "test_work.py" in describe(caught.value)
