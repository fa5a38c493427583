"""The table of a comparison as JSON and CSV, written beside its report and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ctc_mm
from ctc_mm.engine.comparison.data import SharedData
from ctc_mm.engine.comparison.drawing import draw_comparison
from ctc_mm.engine.comparison.figures import Intervals, Results, RunFigures
from ctc_mm.engine.comparison.measurements import Cost, Speed
from ctc_mm.engine.comparison.options import ComparisonOptions
from ctc_mm.engine.comparison.report import STEM, comparison_markdown
from ctc_mm.engine.comparison.runs import FORMAT, Run
from ctc_mm.engine.runs.single_run import RunOutcome
from ctc_mm.evaluation.functional import BootstrapInterval
from ctc_mm.evaluation.functional.spread import mean_sd, number
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json


@dataclass(frozen=True)
class ComparisonFacts:
    """What a comparison was, and how its runs ended.

    Attributes:
        names: of the configs, in the order of the rows.
        baseline: the one that the others are compared with.
        data: that all share.
        runs, outcomes: in the same order.
        warnings: what the reader has to know.
        options: of the command.
    """

    names: Sequence[str]
    baseline: str
    data: SharedData
    runs: Sequence[Run]
    outcomes: Sequence[RunOutcome]
    warnings: Sequence[str]
    options: ComparisonOptions

    @property
    def missing(self) -> list[str]:
        """Runs without a result."""
        pairs = zip(self.runs, self.outcomes, strict=True)
        return [run.name for run, outcome in pairs if outcome.problem or outcome.stopped]


def write_table(
    out_dir: Path,
    facts: ComparisonFacts,
    results: Results,
    intervals: Intervals,
    costs: Mapping[str, Cost],
    speed: Speed | None,
    problems: Sequence[str],
) -> dict[str, Any]:
    """Write ``comparison.md``, ``.csv``, ``.png`` and ``.json``; the same runs give the same bytes, times apart.

    Args:
        out_dir: of the comparison.
        facts: of the comparison.
        results: of the finished runs.
        intervals: over test images.
        costs: by config.
        speed: of all models; None where it was not measured.
        problems: measurements that failed.

    Returns:
        Content of ``comparison.json``.
    """
    rows = [_row(name, facts, results, intervals, costs, speed) for name in facts.names]
    content = {
        "format": FORMAT,
        "ctc_mm": ctc_mm.__version__,
        "data": facts.data.to_json(),
        "baseline": facts.baseline,
        "bootstrap": {
            "resamples": facts.options.resamples,
            "seed": facts.options.resample_seed,
            "drawn": "groups" if results.grouped else "images",
            "n_drawn_from": len(set(results.groups.tolist())),
        },
        "speed_machine": None if speed is None else dict(speed.machine),
        "runs_without_result": facts.missing,
        "failed_measurements": [one.partition(":")[0] for one in problems],
        "warnings": list(facts.warnings),
        "models": rows,
    }
    write_json(out_dir / f"{STEM}.json", content)
    atomic_write_text(out_dir / f"{STEM}.csv", comparison_csv(rows))
    png = draw_comparison(rows, facts.baseline, results.grouped)
    atomic_write_bytes(out_dir / f"{STEM}.png", png)
    atomic_write_text(out_dir / f"{STEM}.md", comparison_markdown(content, png))
    return content


def _row(
    name: str,
    facts: ComparisonFacts,
    results: Results,
    intervals: Intervals,
    costs: Mapping[str, Cost],
    speed: Speed | None,
) -> dict[str, Any]:
    """All that is known of one model, as JSON."""
    runs = results.of_model.get(name, ())
    best = None if speed is None else speed.best(name)
    return {
        "name": name,
        "seeds": [one.run.seed for one in runs],
        "seeds_without_result": [
            one.seed for one in facts.runs if one.contestant == name and one.name in facts.missing
        ],
        "figures": _spreads(runs, intervals.model.get(name, {})),
        "difference": {key: _interval_json(one) for key, one in intervals.difference.get(name, {}).items()},
        "thresholds": {str(one.run.seed): dict(one.thresholds) for one in runs},
        "cost": None if name not in costs else asdict(costs[name]),
        "speed": None if speed is None else {
            "fps_batch_1": speed.fps(name, 1),
            "times_baseline_batch_1": speed.ratio(name, facts.baseline),
            "best_batch": None if best is None else best[0],
            "fps_best_batch": None if best is None else best[1],
            "fps": {str(size): speed.fps(name, size) for size in speed.seconds.get(name, {})},
        },
        "training": _training_json(runs),
    }  # fmt: skip


def _spreads(runs: Sequence[RunFigures], intervals: Mapping[str, BootstrapInterval]) -> dict[str, Any]:
    figures = {}
    for key in runs[0].figures if runs else ():
        spread = mean_sd([one.figures[key] for one in runs])
        figures[key] = {
            "mean": number(spread.mean),
            "sd": number(spread.sd),
            "interval": _interval_json(intervals[key])["interval"] if key in intervals else None,
            "values": [number(one.figures[key]) for one in runs],
        }
    return figures


def _interval_json(one: BootstrapInterval) -> dict[str, Any]:
    ends = [number(one.low), number(one.high)]
    return {"estimate": number(one.estimate), "interval": None if None in ends else ends, "note": one.note}


def _training_json(runs: Sequence[RunFigures]) -> dict[str, Any]:
    """Mean over the seeds of what the trainings have cost; null where some part was not recorded."""
    costs = [one.cost for one in runs if one.cost and one.cost.get("complete")]
    means = {key: number(mean_sd([one[key] for one in costs]).mean) for key in ("wall_s", "cpu_s")}
    peaks = {
        key: max((one[key] for one in costs if one.get(key) is not None), default=None)
        for key in ("peak_memory_mib", "peak_gpu_memory_mib")
    }
    return {**means, **peaks, "epochs": [one["epochs"] for one in costs], "recorded": len(costs)}


def comparison_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a model: every figure's mean, SD, interval, difference and its interval; cost, speed and training."""
    figures = list(dict.fromkeys(key for row in rows for key in row["figures"]))
    header = ["model", "seeds"]
    for key in figures:
        header += [key, f"{key} SD", f"{key} low", f"{key} high", f"{key} difference", f"{key} difference low",
                   f"{key} difference high"]  # fmt: skip
    others = {
        "cost": ("parameters_m", "gflops", "peak_mib", "libraries_mib"),
        "speed": ("fps_batch_1", "times_baseline_batch_1", "fps_best_batch", "best_batch"),
        "training": ("wall_s", "cpu_s", "peak_memory_mib", "peak_gpu_memory_mib"),
    }
    header += [f"training {key}" if part == "training" else key for part, keys in others.items() for key in keys]
    lines = []
    for row in rows:
        line = [row["name"], len(row["seeds"])]
        for key in figures:
            own, change = row["figures"].get(key, {}), row["difference"].get(key, {})
            line += [own.get("mean"), own.get("sd"), *(own.get("interval") or (None, None)), change.get("estimate")]
            line += [*(change.get("interval") or (None, None))]
        line += [(row[part] or {}).get(key) for part, keys in others.items() for key in keys]
        lines.append(["" if value is None else value for value in line])
    return csv_text(header, lines)
