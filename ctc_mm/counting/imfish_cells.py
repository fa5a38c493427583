"""From the imFISH rule's verdicts to cells of a count, and the words of the count card."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctc_mm.counting.level_ranges import describe_levels
from ctc_mm.counting.records import UNIDENTIFIED, CountedCell
from ctc_mm.imfish.measure import Measurement
from ctc_mm.imfish.records import NucleusRecord
from ctc_mm.imfish.thresholds import ImFISHThresholds

CTC_CLASS, OTHER_CLASS, DEBRIS_CLASS = "CTC", "non-CTC", "debris"
CLASSES = (CTC_CLASS, OTHER_CLASS, DEBRIS_CLASS, UNIDENTIFIED)
# The network says otherwise than the rule.
DISAGREES = "cnn_disagrees"

_MEASURED = (
    "reason", "cep8_count", "faint_spots", "cd45", "cd45_background", "dapi", "area_px", "area_um2", "solidity",
    "bright_share", "edge_px", "touching",
)  # fmt: skip
_DIGITS = 4


def class_of(record: NucleusRecord) -> str:
    """Class of a nucleus: what the rule cannot judge is ``unidentified``, what is too small or faint is debris."""
    if record.is_ctc:
        return CTC_CLASS
    if record.reason == "debris":
        return DEBRIS_CLASS
    return UNIDENTIFIED if record.is_rejected else OTHER_CLASS


def counted_cell(
    record: NucleusRecord, one: Measurement, cnn_score: float | None, cnn_threshold: float | None, has_cnn: bool
) -> CountedCell:
    """One nucleus as a row of the count.

    Args:
        record: the verdict.
        one: its measurement, which holds the outlines.
        cnn_score: calibrated probability of the network; None where there is none.
        cnn_threshold: on the same scale; None: no comparison.
        has_cnn: whether the slide's cells have a network's column.
    """
    columns: dict[str, Any] = {name: _rounded(getattr(record, name)) for name in _MEASURED}
    columns |= {"centroid_x": round(record.centroid_yx[1], 3), "centroid_y": round(record.centroid_yx[0], 3)}
    flags = [record.reason] if record.is_rejected else []
    if has_cnn:
        columns["cnn_score"] = _rounded(cnn_score)
        judged = cnn_score is not None and cnn_threshold is not None and not record.is_rejected
        if judged and (cnn_score >= cnn_threshold) != record.is_ctc:
            flags.append(DISAGREES)
    diameter_um = None if record.area_um2 is None else 2 * float(np.sqrt(record.area_um2 / np.pi))
    return CountedCell(
        box_xyxy=record.box_xyxy,
        class_name=class_of(record),
        score=None,
        diameter_um=_rounded(diameter_um),
        flags=tuple(sorted(flags)),
        columns=columns,
        outlines_xy=one.outlines_xy,
    )


def definition_of(thresholds: ImFISHThresholds) -> str:
    """What was counted as a CTC, in words."""
    rule = thresholds.settings
    least = thresholds.cep8_threshold
    signals = f"at least {rule.min_signals} CEP8 signals (each {least:.4g} grey values or more above its nucleus)"
    if rule.mode == "paper":
        return f"Nucleus with {signals}; no other criterion (mode paper, imfish-cnn-2022)."
    return (
        "DAPI-positive nucleus that is whole, alone, in focus and "
        f"{rule.min_diameter_um:g} to {rule.max_diameter_um:g} um across, CD45-negative (ring of cytoplasm less than "
        f"{thresholds.cd45_threshold:.4g} grey values above background), with {signals} "
        '(imfish-cnn-2022, "Detection Standard of CTCs").'
    )


def card_thresholds(thresholds: ImFISHThresholds) -> dict[str, Any]:
    """Every number that the verdicts rest on, as JSON values.

    Levels that differ from place to place as ``describe_levels`` gives them.
    """
    plain = thresholds.to_dict()
    return {**plain, **describe_levels({name: plain.pop(name) for name in ("nuclei", "spots", "cd45")})}


def _rounded(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value
