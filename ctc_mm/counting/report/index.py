"""``index.html`` of a run: patients first, then controls and slides, each with a link to its report."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ctc_mm.counting.report.facts import with_interval
from ctc_mm.counting.report.pages import page_template
from ctc_mm.counting.report.words import NOT_KNOWN, interval, number, percent, plural
from ctc_mm.counting.summary_figure import draw_summary
from ctc_mm.formats.files import atomic_write_text

Summary = Mapping[str, Any]
JsonDict = dict[str, Any]
REPORT = "report.html"
ROLES = {"patient": "patient", "blank": "blank control", "spike_in": "spike-in"}


def write_index(path: str | Path, summary: Summary) -> Path:
    """Write the page over all slides of a run; one file that asks nothing of the network.

    Args:
        path: the file. A slide is linked where ``<slide>/report.html`` lies beside it.
        summary: of the run (``patients.make_summary``).

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    figure = draw_summary(summary)
    html = page_template("index.html.j2").render(
        title=f"{summary['target'] or 'CTC'} counts",
        lead=_lead(summary),
        definition=summary["definition"],
        target=summary["target"] or "CTC",
        confidence=percent(summary["confidence"]),
        patients=[_patient(row) for row in summary["patients"]],
        figure="" if figure is None else "data:image/png;base64," + base64.b64encode(figure).decode("ascii"),
        controls=[*_blanks(summary["blanks"]), *_recovery(summary["spike_ins"], summary["recovery"])],
        slides=[_slide(row, path.parent) for row in summary["slides"]],
        failed=[{"name": one.get("name"), "error": one.get("error", "")} for one in summary["failed"]],
        notes=list(summary["notes"]),
    )
    atomic_write_text(path, html)
    return path


def _lead(summary: Summary) -> list[str]:
    words = [plural(len(summary["slides"]), "slide"), plural(len(summary["patients"]), "patient")]
    if summary["route"]:
        words.append(f"route {summary['route']}")
    if summary["failed"]:
        words.append(f"{number(len(summary['failed']))} failed")
    return words


def _patient(row: Mapping[str, Any]) -> JsonDict:
    per, counted = row["ctc_per_ml"], row["ctc"] is not None
    lost = [
        *([f"{plural(len(row['slides_failed']), 'slide')} failed"] if row["slides_failed"] else []),
        *(
            [f"parts of {number(len(row['slides_with_parts_missing']))} not read"]
            if row["slides_with_parts_missing"]
            else []
        ),
    ]
    return {
        "name": row["patient"],
        "count": number(row["ctc"]) if counted else "–",
        "interval": interval(*row["interval"]) if counted else "",
        "unidentified": number(row["unidentified"]) if counted else "–",
        "if_all": interval(*row["if_unidentified_were_ctc"]["interval"]) if counted and row["unidentified"] else "",
        "per_ml": NOT_KNOWN if per["value"] is None else number(per["value"]),
        "per_ml_interval": "" if per["value"] is None else interval(per["low"], per["high"]),
        "per_ml_reason": per.get("reason", "") if per["value"] is None else "",
        "verdict": _verdict(row),
        "slides": plural(len(row["slides"]), "slide"),
        "lost": ", ".join(lost),
    }


def _verdict(row: Mapping[str, Any]) -> str:
    if row["ctc"] is None:
        return "not counted"
    if row["above_blank"] is None:
        return "no blanks to compare with"
    limits = f"blank {number(row['limit_of_blank'])}, detection {number(row['limit_of_detection'])}"
    if row["above_detection"]:
        return f"above the limit of detection ({limits})"
    return f"{'above the limit of blank only' if row['above_blank'] else 'not told from a blank'} ({limits})"


def _blanks(blanks: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if blanks is None:
        return [("blanks", "none: nothing says how many false cells a sample without CTCs gives")]
    blank, detection = blanks["limit_of_blank"], blanks["limit_of_detection"]
    size = f"for {number(blank['exposure'])} {blanks['unit']}"
    rows = [
        ("blanks", ", ".join(f"{one['slide']} {number(one['ctc'])}" for one in blanks["slides"])),
        ("limit of blank", f"{number(blank['limit'])} {size} ({blank['source']})"),
        ("limit of detection", f"{number(detection['limit'])} {size} ({detection['source']})"),
    ]
    return [*rows, *(("note", one["note"]) for one in (blank, detection) if one["note"])]


def _recovery(spike_ins: Mapping[str, Any] | None, applied: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    rows = []
    if spike_ins is not None:
        samples = spike_ins["samples"]
        words = ", ".join(f"{one['slide']} {number(one['found'])} of {number(one['spiked'])}" for one in samples)
        rows.append(("spike-ins, found of added", words))
        found = spike_ins["recovery"]
        rows.append(("recovery", spike_ins["reason"] if found is None else _share(found)))
    if applied is not None:
        rows.append(("recovery applied to patients", _share(applied)))
    elif spike_ins is not None:
        rows.append(("recovery applied to patients", "none: numbers per mL are of cells found"))
    return rows


def _share(recovery: Mapping[str, Any]) -> str:
    return f"{with_interval(recovery)} ({recovery['method']})"


def _slide(row: Mapping[str, Any], folder: Path) -> JsonDict:
    share, is_there = row.get("area_share"), (folder / str(row["slide"]) / REPORT).is_file()
    counted = row.get("ctc") is not None
    return {
        "name": row["slide"],
        "link": f"{quote(str(row['slide']))}/{REPORT}" if is_there else "",
        "patient": row["patient"],
        "role": ROLES.get(row["role"], row["role"]),
        "count": number(row["ctc"]) if counted else "–",
        "interval": interval(row["ctc_low"], row["ctc_high"]) if counted else "",
        "unidentified": number(row["unidentified"]) if counted else "–",
        "looked": "" if share is None else percent(share),
        "status": row["status"],
        "is_whole": row["status"] == "complete",
    }
