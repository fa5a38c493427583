"""Speed, memory, size and training cost of a comparison's models; measured once, each in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.cli import progress
from ctc_mm.engine.comparison.options import ComparisonOptions
from ctc_mm.engine.comparison.runs import MEASUREMENTS, Run
from ctc_mm.engine.hooks.training_cost_hook import COST_FILE
from ctc_mm.engine.runs.processes import Children
from ctc_mm.engine.runs.run_all import run_command
from ctc_mm.engine.runs.run_config import digest_text
from ctc_mm.engine.runs.single_run import describe_failure
from ctc_mm.evaluation.speed import chosen_device, device_name
from ctc_mm.formats.files import write_json

MEASURING = "ctc_mm.engine.comparison.measuring"


@dataclass(frozen=True)
class Cost:
    """What one model needs, on one image.

    Attributes:
        parameters_m: millions.
        gflops: 1e9 operations an image, a multiplication and an addition count as two.
        peak_mib, libraries_mib: memory of its process, and what of it Python and its libraries take; of a GPU what
            torch has allocated, and 0.
        input_hw: pixels as the network sees them.
    """

    parameters_m: float
    gflops: float
    peak_mib: float
    libraries_mib: float
    input_hw: tuple[int, int]


COST_FIELDS = frozenset(Cost.__dataclass_fields__)


@dataclass(frozen=True)
class Speed:
    """Images per second of every model, taking turns in one process.

    Attributes:
        seconds: of a batch, by model and batch size, one a round; empty where memory did not do.
        machine: what it was measured on.
    """

    seconds: Mapping[str, Mapping[int, Sequence[float]]]
    machine: Mapping[str, Any]

    def fps(self, name: str, batch_size: int) -> float | None:
        """Images per second at the median; None where it was not measured."""
        seconds = self.seconds.get(name, {}).get(batch_size)
        return batch_size / float(np.median(seconds)) if seconds else None

    def best(self, name: str) -> tuple[int, float] | None:
        """Batch size of the most images per second, and how many."""
        known = {size: self.fps(name, size) for size in self.seconds.get(name, {})}
        known = {size: fps for size, fps in known.items() if fps is not None}
        return max(known.items(), key=lambda item: item[1]) if known else None

    def ratio(self, name: str, baseline: str, batch_size: int = 1) -> float | None:
        """Images per second as a multiple of the baseline's: median of the rounds' ratios."""
        one, other = (self.seconds.get(model, {}).get(batch_size) for model in (name, baseline))
        return float(np.median(np.divide(other, one))) if one and other else None


def measure(
    runs: Sequence[Run], out_dir: Path, children: Children, options: ComparisonOptions
) -> tuple[dict[str, Cost], Speed | None, list[str]]:
    """Measure each config's first finished run; what was measured of the same weights before is not repeated.

    Args:
        runs: finished.
        out_dir: of the comparison; gets ``measurements/``.
        children: start the processes.
        options: batch sizes, rounds.

    Returns:
        Cost by config, speed, and what went wrong.
    """
    models: dict[str, Run] = {}
    problems: list[str] = []
    if options.rounds:
        for run in runs:
            models.setdefault(run.contestant, run)
        problems = [_gone(run) for run in models.values() if not run.checkpoint.is_file()]
        models = {name: run for name, run in models.items() if run.checkpoint.is_file()}
    if not models:
        return {}, None, problems
    folder = out_dir.resolve() / MEASUREMENTS
    spec = {
        "models": {name: _model_spec(run) for name, run in models.items()},
        "batch_sizes": list(options.batch_sizes),
        "rounds": options.rounds,
        "trust": options.trust,
        "threads": children.environment["OMP_NUM_THREADS"],
        "device": options.device,
        "device_name": device_name(chosen_device(options.device)),  # another machine's figures are not these
    }
    costs = {}
    for name in progress(list(models), "Size and memory of each model"):
        mine = {**spec, "models": {name: spec["models"][name]}, "batch_sizes": [1], "rounds": 1}
        content = _measured(
            "cost", mine, folder / f"cost_{name}.json", children, problems, lambda known: known.keys() >= COST_FIELDS
        )
        if content is not None:
            fields = {field: content[field] for field in COST_FIELDS}
            costs[name] = Cost(**{**fields, "input_hw": tuple(content["input_hw"])})
    sizes = {str(size) for size in options.batch_sizes}
    is_whole = lambda known: sizes <= set(known.get("seconds", ()))  # noqa: E731
    content = _measured("speed", spec, folder / "speed.json", children, problems, is_whole)
    if content is None:
        return costs, None, problems
    seconds = {name: {int(size): of_size[name] for size, of_size in content["seconds"].items()} for name in models}
    return costs, Speed(seconds, content["machine"]), problems


def _gone(run: Run) -> str:
    return (
        f"cost_{run.contestant}: {run.checkpoint}, tested before, is gone, so it can be measured no more: put it back, "
        f"or delete {run.folder.path} to train it again, or leave measuring out (--rounds 0)"
    )


def _model_spec(run: Run) -> dict[str, str]:
    weights = run.checkpoint
    stat = weights.stat()
    # Another file of the same name is another model; reading all of it would only confirm what time and size tell.
    return {"config": str(run.folder.config), "checkpoint": str(weights), "file": f"{stat.st_size} {stat.st_mtime_ns}"}


def _measured(
    what: str,
    spec: Mapping[str, Any],
    path: Path,
    children: Children,
    problems: list[str],
    is_whole: Callable[[Mapping[str, Any]], bool],
) -> dict[str, Any] | None:
    """Content of a measurement's file, measured if it is not there yet; None where that failed."""
    key = digest_text({name: value for name, value in spec.items() if name != "trust"})
    known = _read(path)
    if known.get("key") == key and is_whole(known):
        return known
    spec_path, log = path.with_name(f"{path.stem}_spec.json"), path.with_suffix(".log")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(spec_path, {**spec, "key": key})
    log.unlink(missing_ok=True)
    code = run_command([sys.executable, "-m", MEASURING, what, str(spec_path), str(path)], log, children)
    if code:
        problems.append(f"{path.stem}: {describe_failure('measurement', code, log)}")
        return None
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not ours: measured anew
        return {}
    return content if isinstance(content, dict) else {}


def training_cost(run: Run) -> dict[str, Any] | None:
    """What ``TrainingCostHook`` wrote beside a run's weights; None where it was not there."""
    return _read(run.checkpoint.parent / COST_FILE) or None
