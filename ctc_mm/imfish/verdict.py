"""The rule: which nuclei are CTCs, and why the others are not.

Paper imfish-cnn-2022, "Detection Standard of CTCs": (1) no aggregation, superposition or impurities, (2) DAPI+,
(3) CD45-, (4) CEP8 >= 3 (reading 15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ctc_mm.imfish.cd45 import cd45_threshold
from ctc_mm.imfish.cep8 import cep8_threshold
from ctc_mm.imfish.measure import Measurement
from ctc_mm.imfish.records import CD45_POSITIVE, CTC, NucleusRecord, cep8_reason
from ctc_mm.imfish.settings import ImFISHSettings
from ctc_mm.imfish.thresholds import ImFISHThresholds


def give_verdicts(
    measurements: Sequence[Measurement], thresholds: ImFISHThresholds
) -> tuple[tuple[NucleusRecord, ...], ImFISHThresholds]:
    """Settle what depends on all nuclei of the field, then judge each.

    Args:
        measurements: all nuclei of the field.
        thresholds: of the field; what is None in them and needed is found here.

    Returns:
        The records in the order of ``measurements``, and the thresholds, complete.
    """
    thresholds = _complete(measurements, thresholds)
    return tuple(_record(one, thresholds) for one in measurements), thresholds


def _complete(measurements: Sequence[Measurement], thresholds: ImFISHThresholds) -> ImFISHThresholds:
    settings = thresholds.settings
    if thresholds.min_dapi is None:
        whole = [one.dapi for one in measurements if _diameter_um(one, thresholds) >= settings.min_diameter_um]
        thresholds = replace(thresholds, min_dapi=settings.min_dapi * float(np.median(whole)) if whole else 0.0)
    judged = [one for one in measurements if _rejection(one, thresholds) is None]
    if thresholds.cep8_threshold is None:
        value, source = settings.cep8_threshold, "given"
        if value is None:
            value, source = cep8_threshold([one.spots_height for one in judged], [one.cep8 for one in judged])
        thresholds = replace(thresholds, cep8_threshold=value, cep8_source=source)
    if thresholds.cd45 is not None and thresholds.cd45_threshold is None:
        value, source = settings.cd45_threshold, "given"
        if value is None:
            rings = [one for one in judged if one.cd45_ring is not None]
            intensities = np.array([one.cd45_ring - _cd45_background(one, thresholds) for one in rings])
            value, source = cd45_threshold(intensities, thresholds.cd45)
        thresholds = replace(thresholds, cd45_threshold=value, cd45_source=source)
    return thresholds


def _record(one: Measurement, thresholds: ImFISHThresholds) -> NucleusRecord:
    background = None if thresholds.cd45 is None else _cd45_background(one, thresholds)
    cd45 = None if background is None or one.cd45_ring is None else one.cd45_ring - background
    signals = [row for row, height in enumerate(one.spots_height) if height >= thresholds.cep8_threshold]
    reason = _reason(one, cd45, len(signals), thresholds)
    return NucleusRecord(
        box_xyxy=tuple(float(value) for value in one.box_xyxy),
        centroid_yx=one.centroid_yx,
        area_px=one.area_px,
        area_um2=one.area_px * thresholds.um_per_px**2 if thresholds.um_per_px_source == "image" else None,
        solidity=one.solidity,
        bright_share=one.bright_share,
        edge_px=one.edge_px,
        touching=one.group,
        dapi=one.dapi,
        cd45=cd45,
        cd45_background=background,
        cep8_count=len(signals),
        faint_spots=len(one.spots_yx) - len(signals),
        spots_yx=tuple(one.spots_yx[row] for row in signals),
        spots_snr=tuple(one.spots_snr[row] for row in signals),
        reason=reason,
        is_ctc=reason == CTC,
    )


def _reason(one: Measurement, cd45: float | None, cep8_count: int, thresholds: ImFISHThresholds) -> str:
    settings = thresholds.settings
    if settings.mode == "full":
        rejection = _rejection(one, thresholds)
        if rejection is not None:
            return rejection
        # A nucleus without a free ring cannot be shown to lack CD45.
        if cd45 is None or cd45 >= thresholds.cd45_threshold:
            return CD45_POSITIVE
    return CTC if cep8_count >= settings.min_signals else cep8_reason(cep8_count)


def _rejection(one: Measurement, thresholds: ImFISHThresholds) -> str | None:
    """The first reason, in the order of ``REJECTED``, not to judge a nucleus by its stains; None: it can be judged."""
    settings = thresholds.settings
    diameter_um = _diameter_um(one, thresholds)
    if one.on_border:
        return "border"
    if diameter_um < settings.min_diameter_um or one.dapi < thresholds.min_dapi:
        return "debris"
    if one.group > 2 or diameter_um > settings.max_diameter_um:
        return "aggregate"
    if one.group == 2 or one.solidity < settings.min_solidity or _shines_twice(one, settings):
        return "overlap"
    if one.edge_px is None or one.edge_px * thresholds.um_per_px > settings.max_edge_um:
        return "out_of_focus"
    return None


def _shines_twice(one: Measurement, settings: ImFISHSettings) -> bool:
    """Whether a nucleus that is not quite convex has a part of double brightness: two that lie over one another."""
    return one.solidity < settings.convex_solidity and one.bright_share > settings.max_bright_share


def _diameter_um(one: Measurement, thresholds: ImFISHThresholds) -> float:
    return 2 * math.sqrt(one.area_px / math.pi) * thresholds.um_per_px


def _cd45_background(one: Measurement, thresholds: ImFISHThresholds) -> float:
    return thresholds.cd45.background_at(*one.centroid_yx)
