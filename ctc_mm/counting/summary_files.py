"""Files over all slides and patients: ``slides.csv``, ``patients.csv``, ``summary.json``, ``.md`` and ``.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctc_mm.counting.count_card import plain_json
from ctc_mm.counting.summary_figure import draw_summary
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

SLIDES_CSV, PATIENTS_CSV, SUMMARY_JSON = "slides.csv", "patients.csv", "summary.json"
SUMMARY_MD, SUMMARY_PNG = "summary.md", "summary.png"
FILES = (SLIDES_CSV, PATIENTS_CSV, SUMMARY_JSON, SUMMARY_MD, SUMMARY_PNG)
# Columns of slides.csv that are there also without a slide that was counted; classes follow, `error` is last.
SLIDE_COLUMNS = (
    "slide", "patient", "role", "status", "ctc", "ctc_low", "ctc_high", "unidentified", "ctc_if_unidentified_were",
    "ctc_per_ml", "ctc_per_ml_low", "ctc_per_ml_high", "blood_ml", "spiked", "area_share", "analysed_px",
    "background_px", "dropped_px", "um_per_px",
)  # fmt: skip
ROLES_IN_WORDS = {"patient": "patient", "blank": "blank", "spike_in": "spike-in"}


def write_summary_files(out_dir: str | Path, summary: Mapping[str, Any]) -> list[Path]:
    """Write a summary (of ``make_summary``) as tables, JSON, Markdown and a figure; same summary, same bytes.

    Args:
        out_dir: made if it does not exist.
        summary: of a run.

    Returns:
        The files written.

    Raises:
        OSError: a file cannot be written.
    """
    out_dir = Path(out_dir)
    atomic_write_text(out_dir / SLIDES_CSV, slides_csv(summary))
    atomic_write_text(out_dir / PATIENTS_CSV, patients_csv(summary))
    write_json(out_dir / SUMMARY_JSON, plain_json(summary))
    figure = draw_summary(summary)
    if figure is not None:
        atomic_write_bytes(out_dir / SUMMARY_PNG, figure)
    atomic_write_text(out_dir / SUMMARY_MD, summary_markdown(summary, SUMMARY_PNG if figure else None))
    names = (SLIDES_CSV, PATIENTS_CSV, SUMMARY_JSON, SUMMARY_MD, *([SUMMARY_PNG] if figure else []))
    return [out_dir / name for name in names]


def slides_csv(summary: Mapping[str, Any]) -> str:
    """A row a slide, failed ones too; unknown values are empty cells."""
    rows = summary["slides"]
    classes = list(dict.fromkeys(key for row in rows for key in row if key.startswith("n_")))
    return _table([*SLIDE_COLUMNS, *classes, "error"], rows)


def patients_csv(summary: Mapping[str, Any]) -> str:
    """A row a patient; unknown values are empty cells."""
    header = [
        "patient", "slides", "slides_with_parts_missing", "slides_failed", "ctc", "ctc_low", "ctc_high", "unidentified",
        "ctc_if_unidentified_were", "blood_ml", "ctc_per_ml", "ctc_per_ml_low", "ctc_per_ml_high", "recovery_applied",
        "ctc_corrected", "ctc_corrected_low", "ctc_corrected_high", "limit_of_blank", "above_blank",
        "limit_of_detection", "above_detection", "note",
    ]  # fmt: skip
    return _table(header, [_patient_cells(row) for row in summary["patients"]])


def _patient_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    per, corrected = row["ctc_per_ml"], row["correction"] or {}
    low, high = row["interval"] or (None, None)
    return {
        "patient": row["patient"],
        "slides": len(row["slides"]),
        "slides_with_parts_missing": len(row["slides_with_parts_missing"]),
        "slides_failed": len(row["slides_failed"]),
        "ctc": row["ctc"],
        "ctc_low": low,
        "ctc_high": high,
        "unidentified": row["unidentified"],
        "ctc_if_unidentified_were": (row["if_unidentified_were_ctc"] or {}).get("count"),
        "blood_ml": per["blood_ml"],
        "ctc_per_ml": per["value"],
        "ctc_per_ml_low": per["low"],
        "ctc_per_ml_high": per["high"],
        "recovery_applied": per.get("recovery_applied"),
        "ctc_corrected": corrected.get("value"),
        "ctc_corrected_low": corrected.get("low"),
        "ctc_corrected_high": corrected.get("high"),
        **{key: row[key] for key in ("limit_of_blank", "limit_of_detection")},
        **{key: _yes_no(row[key]) for key in ("above_blank", "above_detection")},
        "note": per.get("reason", ""),
    }


def _table(header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    return csv_text(header, [["" if row.get(name) is None else row[name] for name in header] for row in rows])


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def summary_markdown(summary: Mapping[str, Any], figure: str | None) -> str:
    """The summary for reading."""
    percent = f"{100 * summary['confidence']:g} %"
    parts = [
        f"# {summary['target'] or 'CTC'} counts",
        *([summary["definition"]] if summary["definition"] else []),
        *([f"![Counts with their intervals, limits of blank and detection]({figure})"] if figure else []),
        "## Patients",
        _patient_table(summary, percent),
        *_blank_lines(summary["blanks"]),
        *_spike_in_lines(summary["spike_ins"], summary["recovery"], percent),
        "## Slides",
        _slide_table(summary, percent),
        *_failed_lines(summary["failed"]),
        *_notes([*summary["problems"], *summary["notes"]]),
        f"Intervals: {percent}, exact Poisson (Garwood 1936). They hold the chance of the count, not whether each cell "
        "is what it was called. `summary.json` has every number with its method.",
        "Cells that blanks lead one to expect are taken off the spike-ins' recovery, not off patients' counts and "
        "numbers per mL: compare these with the limit of blank.",
    ]
    # Names come from file names and tables, and viewers of Markdown run what looks like HTML.
    return "\n\n".join(parts).replace("<", "&lt;") + "\n"


def _patient_table(summary: Mapping[str, Any], percent: str) -> str:
    if not summary["patients"]:
        return "No slide of a patient."
    header = ["patient", "slides", "count", percent, "unidentified", "per mL", percent, "limit of blank", "verdict"]
    rows = []
    for row in summary["patients"]:
        per, lost = row["ctc_per_ml"], len(row["slides_failed"]) + len(row["slides_with_parts_missing"])
        slides = f"{len(row['slides'])}" + (f" ({lost} failed or with parts missing)" if lost else "")
        limits = "" if row["limit_of_blank"] is None else str(row["limit_of_blank"])
        rows.append(
            [row["patient"], slides, row["ctc"], _span(*(row["interval"] or (None, None))), row["unidentified"],
             _number(per["value"]), _span(per["low"], per["high"]), limits, _verdict(row)]
        )  # fmt: skip
    return _markdown_table(header, rows)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["ctc"] is None:
        return "not counted"
    if row["above_blank"] is None:
        return "no blanks to compare with"
    if row["above_detection"]:
        return "above the limit of detection"
    return "above the limit of blank" if row["above_blank"] else "not told from a blank"


def _slide_table(summary: Mapping[str, Any], percent: str) -> str:
    header = ["slide", "patient", "role", "count", percent, "unidentified", "looked at", "state"]
    rows = []
    for row in summary["slides"]:
        share = row.get("area_share")
        looked = "" if share is None else f"{100 * share:.4g} %"
        span = _span(row.get("ctc_low"), row.get("ctc_high"))
        role = ROLES_IN_WORDS.get(row["role"], row["role"])
        rows.append(
            [row["slide"], row["patient"], role, row.get("ctc"), span, row.get("unidentified"), looked, row["status"]]
        )
    return _markdown_table(header, rows) if rows else "No slide."


def _blank_lines(blanks: Mapping[str, Any] | None) -> list[str]:
    if blanks is None:
        return ["## Blanks", "No blank was counted: nothing says how many false cells a sample without CTCs gives."]
    blank, detection = blanks["limit_of_blank"], blanks["limit_of_detection"]
    counts = ", ".join(f"{one['slide']} {one['ctc']}" for one in blanks["slides"])
    size = f"{blank['exposure']:.4g} {blanks['unit']}"
    lines = [
        f"- Counts: {counts}",
        f"- Limit of blank for {size}: {blank['limit']} ({blank['source']}; alpha {blank['alpha']:g})",
        f"- Limit of detection for it: {detection['limit']:.3g} ({detection['source']}; beta {detection['beta']:g})",
        *([f"- {blank['note']}"] if blank["note"] else []),
    ]
    return ["## Blanks", "\n".join(lines)]


def _spike_in_lines(spike_ins: Mapping[str, Any] | None, applied: Mapping[str, Any] | None, percent: str) -> list[str]:
    lines = []
    if spike_ins is not None:
        counts = ", ".join(f"{one['slide']} {one['found']} of {one['spiked']:g}" for one in spike_ins["samples"])
        lines.append(f"- Found: {counts}")
        found = spike_ins["recovery"]
        text = spike_ins["reason"] if found is None else _recovery_text(found, percent)
        lines += [f"- Recovery: {text}", *([f"- {found['note']}"] if found and found["note"] else [])]
    if applied is not None:
        lines.append(f"- Patients' numbers per mL are corrected by a recovery of {_recovery_text(applied, percent)}")
    elif spike_ins is not None:
        lines.append("- Patients' numbers per mL are not corrected by it")
    return ["## Recovery", "\n".join(lines)] if lines else []


def _recovery_text(recovery: Mapping[str, Any], percent: str) -> str:
    span = _span(recovery["low"], recovery["high"])
    return f"{recovery['value']:.3g} ({percent}: {span}; {recovery['method']})"


def _failed_lines(failed: Sequence[Mapping[str, Any]]) -> list[str]:
    if not failed:
        return []
    return ["## Failed", "\n".join(f"- {one.get('name')}: {one.get('error', '')}" for one in failed)]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{low:.2f} to {'unlimited' if high is None else f'{high:.2f}'}"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
