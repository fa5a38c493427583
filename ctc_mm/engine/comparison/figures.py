"""What the runs of a comparison have given: figures of each, their means, and intervals over test images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.engine.comparison.data import SharedData
from ctc_mm.engine.comparison.measurements import training_cost
from ctc_mm.engine.comparison.runs import Run
from ctc_mm.errors import AnnotationError
from ctc_mm.evaluation.detection_records import RECORDS_FILE, DetectionRecords, read_records
from ctc_mm.evaluation.functional import BootstrapInterval, ResampledDetection, bootstrap_figures

CONFIDENCE = 0.95
TRAINED_ON = ("device", "processes", "torch", "ctc_mm")


@dataclass(frozen=True, eq=False)
class RunFigures:
    """One finished run.

    Attributes:
        run: which.
        resampled: its figures as a function of the images drawn.
        figures: on the test images as they are.
        thresholds: of each class, chosen on validation; None where none could be.
        cost: of its training, see ``TrainingCostHook``; None where it was not recorded.
    """

    run: Run
    resampled: ResampledDetection
    figures: Mapping[str, float]
    thresholds: Mapping[str, float | None]
    cost: Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class Results:
    """All finished runs.

    Attributes:
        of_model: by config name, in the order of the seeds; configs without a finished run are missing.
        groups: (images,), what is drawn together: patient or slide, else the image itself.
        grouped: whether these are patients or slides, of several images some.
    """

    of_model: Mapping[str, Sequence[RunFigures]] = field(default_factory=dict)
    groups: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    grouped: bool = False


def read_results(runs: Sequence[Run], data: SharedData) -> Results:
    """Read the tests of finished runs.

    Args:
        runs: finished.
        data: of the comparison.

    Raises:
        AnnotationError: a file is missing or damaged, or two tests were made on different images.
    """
    of_model: dict[str, list[RunFigures]] = {}
    first: tuple[Path, DetectionRecords] | None = None
    for run in runs:
        path = run.folder.test / RECORDS_FILE
        records = read_records(path).sorted_by_place()
        first = first or (path, records)
        _require_same_images(*first, path, records)
        thresholds = _thresholds(run.folder.test / "metrics.json", data.classes)
        resampled = ResampledDetection(records.images, data.classes, frozen=thresholds)
        figures = resampled(np.ones(len(records.images), np.int64))
        of_model.setdefault(run.contestant, []).append(
            RunFigures(run, resampled, figures, thresholds, training_cost(run))
        )
    if first is None:
        return Results()
    names = first[1].groups
    grouped = all(names) and len(set(names)) < len(names)  # a group an image is the image itself
    return Results(of_model, np.array(names) if grouped else np.arange(len(names)), grouped)


def _require_same_images(one_path: Path, one: DetectionRecords, other_path: Path, other: DetectionRecords) -> None:
    same = [image.name for image in one.images] == [image.name for image in other.images] and all(
        np.array_equal(a.truth_xyxy, b.truth_xyxy) and np.array_equal(a.truth_labels, b.truth_labels)
        for a, b in zip(one.images, other.images, strict=True)
    )
    if not same:
        raise AnnotationError(f"{other_path}: its images and labels are not those of {one_path}; results do not mix")


def _thresholds(path: Path, classes: Sequence[str]) -> dict[str, float | None]:
    """Thresholds chosen on validation, as the test applied them."""
    try:
        point = json.loads(path.read_text(encoding="utf-8"))["operating_point"]
        return dict.fromkeys(classes) if point is None else {name: point["thresholds"].get(name) for name in classes}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{path}: cannot be read ({error}); delete `done.json` above it and run again") from error


def machine_warnings(results: Results) -> tuple[str, ...]:
    """What the reader has to know where trainings ran on different devices or versions, as far as they noted it."""
    costs = [run.cost for runs in results.of_model.values() for run in runs if run.cost]
    kinds = {name: {str(cost[name]) for cost in costs if cost.get(name)} for name in TRAINED_ON}
    told = [f"{name} {', '.join(sorted(values))}" for name, values in kinds.items() if len(values) > 1]
    return (f"trainings ran on different machines or versions ({'; '.join(told)})",) if told else ()


@dataclass(frozen=True)
class Intervals:
    """Intervals over test images.

    Attributes:
        model: config name -> figure -> that of the mean over its seeds.
        difference: the same of the difference to the baseline, which is missing here.
    """

    model: Mapping[str, Mapping[str, BootstrapInterval]] = field(default_factory=dict)
    difference: Mapping[str, Mapping[str, BootstrapInterval]] = field(default_factory=dict)


def bootstrap_results(results: Results, baseline: str, n_resamples: int, seed: int) -> Intervals:
    """Intervals over test images of every model's mean over its seeds, and of its difference to the baseline.

    All models are judged on the same draws, so that a difference is of the models and not of the images drawn.

    Args:
        results: of the comparison.
        baseline: name of the model that the others are compared with; without a finished run there are no differences.
        n_resamples: draws.
        seed: of the draws.
    """
    if not results.of_model or not n_resamples:
        return Intervals()
    names = list(next(iter(results.of_model.values()))[0].figures)
    statistics = {}
    for model, runs in results.of_model.items():
        for name in names:
            statistics["model", model, name] = _Mean(runs, name)
            if baseline in results.of_model and model != baseline:
                statistics["difference", model, name] = _Difference(runs, results.of_model[baseline], name)
    found = bootstrap_figures(statistics, results.groups, n_resamples, seed, CONFIDENCE)
    by_kind: dict[str, dict[str, dict[str, BootstrapInterval]]] = {"model": {}, "difference": {}}
    for (kind, model, name), interval in found.items():
        by_kind[kind].setdefault(model, {})[name] = interval
    return Intervals(**by_kind)


@dataclass(frozen=True, eq=False)
class _Mean:
    """A figure's mean over the seeds of one model, on images drawn so often."""

    runs: Sequence[RunFigures]
    name: str

    def __call__(self, times: np.ndarray) -> float:
        return float(np.mean([one.resampled(times)[self.name] for one in self.runs]))


@dataclass(frozen=True, eq=False)
class _Difference:
    """How much higher a figure is than the baseline's, both on the same images."""

    runs: Sequence[RunFigures]
    baseline: Sequence[RunFigures]
    name: str

    def __call__(self, times: np.ndarray) -> float:
        return _Mean(self.runs, self.name)(times) - _Mean(self.baseline, self.name)(times)
