"""The figure of a summary: the spike-in line, and patients with their intervals against the limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctc_mm.counting.palette import OTHERS_RGB, TARGET_RGB
from ctc_mm.evaluation.output import new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More patients than this cannot be read in one picture; the table has them all.
MOST_PATIENTS = 60
# Up to this, counts are drawn on a linear axis; beyond it on one that is linear up to the other number alone.
LARGEST_LINEAR, LINEAR_UP_TO = 50, 10
_TARGET = tuple(value / 255 for value in TARGET_RGB)
_LINE = tuple(value / 255 for value in OTHERS_RGB[3])
_GREY = (0.45, 0.45, 0.45)


def draw_summary(summary: Mapping[str, Any]) -> bytes | None:
    """Draw a summary as PNG; None where there is neither a patient nor a spike-in."""
    patients = [row for row in summary["patients"] if row["ctc"] is not None][:MOST_PATIENTS]
    spike_ins = summary["spike_ins"]
    panels = [name for name, there in (("line", spike_ins), ("patients", patients)) if there]
    if not panels:
        return None
    height = max(3.4, 1.4 + 0.28 * len(patients))
    figure = new_figure(4.6 * len(panels) + (1.6 if patients else 0), height)
    widths = [1.0 if name == "line" else 1.4 for name in panels]
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for name, axis in zip(panels, axes, strict=True):
        if name == "line":
            _draw_line(axis, spike_ins)
        else:
            _draw_patients(axis, patients, summary)
    return png_bytes(figure)


def _draw_line(axis: Axes, spike_ins: Mapping[str, Any]) -> None:
    added = [sample["spiked_where_looked"] for sample in spike_ins["samples"]]
    found = [sample["found"] for sample in spike_ins["samples"]]
    end = 1.05 * max([*added, 1.0])
    axis.plot([0, end], [0, end], color=_GREY, linestyle=":", linewidth=1, label="all found")
    recovery = spike_ins["recovery"]
    if recovery is not None:
        slope, low, high = recovery["value"], recovery["low"] or 0.0, recovery["high"]
        axis.plot([0, end], [0, slope * end], color=_LINE, label=f"recovery {slope:.2f}")
        if high is not None:
            span = f"{low:.2f} to {high:.2f}"
            axis.fill_between([0, end], [0, low * end], [0, high * end], color=_LINE, alpha=0.15, lw=0, label=span)
    axis.plot(added, found, "o", color=_TARGET, markersize=5, clip_on=False, zorder=3)
    # A band of two samples that disagree may reach thousands of cells, and would press them onto the axis.
    top = 1.15 * max(end, *found, 0.0 if recovery is None else recovery["value"] * end)
    axis.set(xlabel="cells added", ylabel="cells found", xlim=(0, end), ylim=(0, top), title="Spike-in")
    axis.legend(frameon=False, fontsize="small", loc="upper left")


def _draw_patients(axis: Axes, patients: list[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    places = list(range(len(patients)))
    for place, row in zip(places, patients, strict=True):
        low, high = row["interval"]
        axis.plot([low, high], [place, place], color=_LINE, linewidth=2, solid_capstyle="butt")
        if row["unidentified"]:
            axis.plot([row["ctc"] + row["unidentified"]], [place], "|", color=_GREY, markersize=9, zorder=2)
        if row["limit_of_blank"] is not None:
            ends = [place - 0.38, place + 0.38]
            axis.plot([row["limit_of_blank"]] * 2, ends, color="black", linewidth=1.2)
            axis.plot([row["limit_of_detection"]] * 2, ends, color="black", linewidth=1.2, linestyle=":")
        axis.plot([row["ctc"]], [place], "o", color=_TARGET, markersize=5, zorder=3, clip_on=False)
    axis.set_yticks(places, [row["patient"] for row in patients], fontsize="small")
    axis.set_ylim(len(patients) - 0.4, -0.6)
    largest = max(max(row["interval"][1], row["limit_of_detection"] or 0) for row in patients)
    is_log = largest > LARGEST_LINEAR
    if is_log:
        # Patients with hundreds of cells would press the others onto the axis.
        axis.set_xscale("symlog", linthresh=LINEAR_UP_TO)
        axis.set_xticks(_log_ticks(largest))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    axis.set_xlim(0, _log_ticks(largest)[-1] if is_log else None)
    left_out = len(summary["patients"]) - len(patients)
    title = f"Patients ({left_out} more in the tables)" if left_out else "Patients"
    label = f"{summary['target'] or 'CTC'} counted, {100 * summary['confidence']:g} % interval"
    axis.set(xlabel=f"{label} (logarithmic from {LINEAR_UP_TO} on)" if is_log else label, title=title)
    _legend(axis, patients)


def _log_ticks(largest: float) -> list[int]:
    """Ticks from 0 to the first one at or above the largest value."""
    ticks = [0, 2, 5]
    while ticks[-1] < largest:
        power = 10 ** ((len(ticks) - 1) // 2)
        ticks.append(power if len(ticks) % 2 else 3 * power)
    return ticks


def _legend(axis: Axes, patients: list[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    entries = []
    if any(row["limit_of_blank"] is not None for row in patients):
        entries += [
            Line2D([], [], color="black", linewidth=1.2, label="limit of blank"),
            Line2D([], [], color="black", linewidth=1.2, linestyle=":", label="limit of detection"),
        ]
    if any(row["unidentified"] for row in patients):
        entries.append(
            Line2D([], [], color=_GREY, marker="|", markersize=9, linestyle="none", label="with all unidentified")
        )
    if entries:
        axis.figure.legend(handles=entries, frameon=False, fontsize="small", loc="outside lower right", ncols=3)
