"""The table of a comparison: Markdown, CSV, a picture and JSON."""

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
from ctc_mm.engine.comparison.runs import FORMAT, Run
from ctc_mm.engine.cross_validation.report import render_markdown
from ctc_mm.engine.cross_validation.section import Picture, Section, Table, shown, shown_interval, shown_spread
from ctc_mm.engine.runs.single_run import RunOutcome
from ctc_mm.evaluation.functional import BootstrapInterval
from ctc_mm.evaluation.functional.spread import mean_sd, number
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

STEM = "comparison"
RATES = ("precision", "recall", "f1")
MAIN_NOTE = (
    "Mean ± SD (n - 1) over the seeds. AP50: area under the precision-recall curve at IoU 0.5; mAP50: its mean over "
    "classes; mAP: COCO's, IoU 0.50 to 0.95. Precision, recall and F1: all classes pooled, each at the threshold that "
    "its run chose on the validation part. FPS: images a second from the preprocessed batch to boxes in the original "
    "image (network, decoding, NMS), median of the rounds, the models taking turns; x: times the baseline's, round by "
    "round. GFLOPs: of one test image, a multiplication and an addition count as two. Memory, on one test image: "
    "peak of a process that predicts one image, with what Python and its libraries take of it. Training: time on the "
    "clock and of the processors, validations included, mean over the seeds; trainings that run side by side slow "
    "each other down. '-': not measured, or undefined."
)
POINT_NOTE = "Thresholds: `frozen` was chosen on validation (best F1 of each class), `0.5` is the same for all."
LIMITS = (
    "What an interval covers: other test images like these. What it does not: other seeds than these (their mean is "
    "what is compared, and few tell little of their spread), another split into training, validation and test, labels "
    "that are wrong or missing, other microscopes, stains or laboratories. Intervals are not widened for the number of "
    "comparisons made."
)


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


def comparison_markdown(content: Mapping[str, Any], png: bytes) -> str:
    """The report, for a reader."""
    classes, target = content["data"]["classes"], content["data"]["target"]
    parts = [f"{one['images']} {part}" for part, one in content["data"]["parts"].items()]
    lead = [
        f"Classes: {', '.join(classes)} (target: {target}). Images: {', '.join(parts)}.",
        f"Baseline: {content['baseline']}.",
    ]
    if content["runs_without_result"]:
        lead.append(
            f"Without a result, and missing from every figure here: {'; '.join(content['runs_without_result'])}."
        )
    lead += [f"Keep in mind: {warning}." for warning in content["warnings"]]
    rows = content["models"]
    sections = [Section(tables=[_main_table(content)]), Section(tables=[_point_table(rows, classes)])]
    if any(row["difference"] for row in rows):
        sections.append(Section(tables=[_difference_table(content)]))
    caption = "Bars: mean over the seeds, dots: seeds, lines: 95 % interval over the test images."
    picture = Picture(f"{STEM}.png", png, caption)
    sections.append(Section(tables=[_speed_table(content)] if content["speed_machine"] else [], pictures=[picture]))
    return render_markdown("Comparison of detectors", lead, sections)


def _seeds(row: Mapping[str, Any]) -> str:
    finished, missing = len(row["seeds"]), len(row["seeds_without_result"])
    return f"{finished} of {finished + missing}" if missing else str(finished)


def _spread(row: Mapping[str, Any], key: str) -> str:
    one = row["figures"].get(key)
    return "-" if one is None else shown_spread(mean_sd(one["values"]))


def _main_table(content: Mapping[str, Any]) -> Table:
    classes = content["data"]["classes"]
    figures = {"precision": "precision@frozen", "recall": "recall@frozen", "F1": "f1@frozen"}
    figures |= {f"AP50 {name}": f"AP50_{name}" for name in classes} | {"mAP50": "mAP50", "mAP": "mAP"}
    header = ("model", "seeds", *figures, "FPS, batch 1", "FPS, best batch", "parameters, M", "GFLOPs", "memory, MiB",
              "training, min")  # fmt: skip
    rows = []
    for row in content["models"]:
        cost, speed, training = row["cost"] or {}, row["speed"] or {}, row["training"]
        ratio, best = speed.get("times_baseline_batch_1"), speed.get("best_batch")
        rows.append((
            row["name"],
            _seeds(row),
            *(_spread(row, key) for key in figures.values()),
            shown(speed.get("fps_batch_1"), 1) + ("" if ratio is None else f" ({ratio:.2f} x)"),
            shown(speed.get("fps_best_batch"), 1) + ("" if best is None else f" (batch {best})"),
            shown(cost.get("parameters_m"), 2),
            shown(cost.get("gflops"), 2),
            "-" if not cost else f"{cost['peak_mib']:.0f} ({cost['libraries_mib']:.0f})",
            "-" if training["wall_s"] is None else f"{training['wall_s'] / 60:.1f} ({training['cpu_s'] / 60:.1f} CPU)",
        ))  # fmt: skip
    return Table("Models", header, tuple(rows), MAIN_NOTE)


def _point_table(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Table:
    header = ("model", "threshold", "class", "precision", "recall", "F1")
    lines = [
        (
            row["name"],
            point,
            name or "all",
            *(_spread(row, f"{rate}{f'_{name}' if name else ''}@{point}") for rate in RATES),
        )
        for row in rows
        if row["figures"]
        for point in ("frozen", "0.5")
        for name in ("", *classes)
    ]
    return Table("Precision, recall and F1", header, tuple(lines), POINT_NOTE)


def _difference_table(content: Mapping[str, Any]) -> Table:
    names = [
        "mAP50",
        *(f"AP50_{name}" for name in content["data"]["classes"]),
        "mAP",
        *(f"{rate}@frozen" for rate in RATES),
    ]
    lines = []
    for row in (row for row in content["models"] if row["difference"]):
        changes = [row["difference"][name] for name in names]
        lines.append((row["name"], *(_shown_change(one) for one in changes)))
    bootstrap = content["bootstrap"]
    drawn = f"{bootstrap['n_drawn_from']} {'patients or slides' if bootstrap['drawn'] == 'groups' else 'test images'}"
    note = (
        f"Mean over seeds minus that of {content['baseline']}, with the 95 % interval of a paired bootstrap over "
        f"{drawn} ({bootstrap['resamples']} draws, seed {bootstrap['seed']}; both models on the same draw). {LIMITS}"
    )
    return Table(f"Differences to {content['baseline']}", ("model", *names), tuple(lines), note)


def _shown_change(one: Mapping[str, Any]) -> str:
    return "-" if one["estimate"] is None else f"{one['estimate']:+.3f}{shown_interval(one['interval'])}"


def _speed_table(content: Mapping[str, Any]) -> Table:
    sizes = sorted({int(size) for row in content["models"] for size in (row["speed"] or {}).get("fps", {})})
    lines = [
        (row["name"], *(shown(row["speed"]["fps"].get(str(size)), 1) for size in sizes))
        for row in content["models"]
        if row["speed"]
    ]
    told = ", ".join(f"{key} {value}" for key, value in content["speed_machine"].items())
    return Table("Images per second", ("model", *(f"batch {size}" for size in sizes)), tuple(lines), told)
