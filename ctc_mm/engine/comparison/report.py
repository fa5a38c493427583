"""The report of a comparison, for a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctc_mm.engine.cross_validation.report import render_markdown
from ctc_mm.engine.cross_validation.section import Picture, Section, Table, shown, shown_interval, shown_spread
from ctc_mm.evaluation.functional.spread import mean_sd

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


def comparison_markdown(content: Mapping[str, Any], png: bytes) -> str:
    """The report: what was compared, figures, differences, speed.

    Args:
        content: of ``comparison.json``.
        png: its picture.
    """
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
              "epochs", "training, min")  # fmt: skip
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
            ", ".join(map(str, dict.fromkeys(training["epochs"]))) or "-",
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
