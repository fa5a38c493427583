"""Slides put together: patients with intervals, blanks and spike-ins apart, limits and recovery from these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ctc_mm.counting.blanks import limit_of_blank, limit_of_detection
from ctc_mm.counting.concentration import per_ml
from ctc_mm.counting.estimates import CONFIDENCE, count_estimate
from ctc_mm.counting.performance import pooled_correction
from ctc_mm.counting.records import BLANK, PATIENT, SPIKE_IN
from ctc_mm.counting.spike_in import Recovery, recovery_line
from ctc_mm.errors import SlideError

Card = Mapping[str, Any]
Row = dict[str, Any]

SCHEMA, SCHEMA_VERSION = "ctc_mm.count_summary", 1
MEASURED = "measured"
ML, SLIDES = "mL of blood", "slides"
NO_VOLUME = "volume of a slide unknown: give volume_ml in the table of slides, or --volume-ml"
NOTHING_SEEN = "no part of the slides could be read"
LIMITS = ("limit_of_blank", "limit_of_detection", "above_blank", "above_detection")
# Null in the row of a patient of whom no slide could be counted.
COUNTED = ("ctc", "interval", "unidentified", "if_unidentified_were_ctc", "ctc_per_ml", "correction", *LIMITS)
# Of notes on slides, so many are shown, each with so many slides by name.
SHOWN_NOTES, SHOWN_NAMES = 10, 3
# What must be the same in all slides whose counts are added up.
ALIKE = ("target", "route")


def make_summary(
    cards: Sequence[Card],
    *,
    recovery: Recovery | Literal["measured"] | None = None,
    failed: Sequence[Mapping[str, Any]] = (),
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Put the cards of a run together.

    Args:
        cards: of all slides that were counted, in any order.
        recovery: share of added cells that is found, applied to patients' CTCs per mL; ``"measured"``: that of the
            run's own spike-ins. None: spike-ins are shown, and nothing is corrected by them.
        failed: slides that could not be counted: ``name``, ``patient``, ``role``, ``error``.
        confidence: of all intervals.

    Returns:
        JSON values: ``slides`` and ``patients`` (rows), ``blanks`` (limit of blank and of detection; null without),
        ``spike_ins`` (samples, and the recovery or the reason why there is none; null without), ``recovery``,
        ``failed``, ``notes``, and ``problems`` (what was asked for and could not be done: recovery that cannot be
        measured leaves the numbers uncorrected). Slides without a patient are patients of their own. No clock in it.

    Raises:
        SlideError: cards of another target or route cannot be added up; two slides of one name.
    """
    ordered = sorted(cards, key=lambda card: card["slide"]["name"])
    _check_alike(ordered)
    by_role = {role: [card for card in ordered if card["slide"]["role"] == role] for role in (PATIENT, BLANK, SPIKE_IN)}
    unit = ML if all(_volume(card) is not None for card in (*by_role[PATIENT], *by_role[BLANK])) else SLIDES
    spike_ins, measured = _spike_ins(by_role[SPIKE_IN], by_role[BLANK], confidence)
    problems = []
    if recovery == MEASURED and measured is None:
        reason = spike_ins["reason"] if spike_ins else "no slide of role spike_in was counted"
        problems.append(f"recovery could not be measured, so numbers per mL are not corrected: {reason}")
    applied = measured if recovery == MEASURED else recovery
    notes = []
    definitions = sorted({card["definition"] for card in ordered})
    if len(definitions) > 1:
        notes.append(f"slides differ in what was counted as {ordered[0]['target']}: {' | '.join(definitions)}")
    if unit == SLIDES and by_role[BLANK]:
        notes.append("a volume is unknown, so blanks and patients are compared by slide, as if all held as much blood")
    notes += [recovery.note] if isinstance(recovery, Recovery) and recovery.note else []
    notes += _slide_notes(ordered)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **{key: ordered[0][key] if ordered else None for key in ALIKE},
        "definition": definitions[0] if len(definitions) == 1 else None,
        "confidence": confidence,
        "slides": [slide_row(card) for card in ordered] + [_failed_row(one) for one in failed],
        "patients": _patients(by_role[PATIENT], by_role[BLANK], unit, applied, failed, confidence),
        "blanks": _blanks(by_role[BLANK], unit),
        "spike_ins": spike_ins,
        "recovery": None if applied is None else applied.to_json(),
        "failed": [dict(one) for one in sorted(failed, key=lambda one: str(one.get("name")))],
        "notes": notes,
        "problems": problems,
    }


def slide_row(card: Card) -> Row:
    """One slide as a row of ``slides.csv``."""
    slide, ctc, area, per = card["slide"], card["ctc"], card["area"], card["ctc_per_ml"]
    return {
        "slide": slide["name"],
        "patient": slide["patient"],
        "role": slide["role"],
        "status": "complete" if card["complete"] else "parts missing",
        "ctc": ctc["count"],
        "ctc_low": ctc["interval"][0],
        "ctc_high": ctc["interval"][1],
        "unidentified": card["unidentified"],
        "ctc_if_unidentified_were": ctc["if_unidentified_were_ctc"]["count"],
        "ctc_per_ml": per["value"],
        "ctc_per_ml_low": per["low"],
        "ctc_per_ml_high": per["high"],
        "blood_ml": slide["blood_ml"],
        "spiked": slide["spiked"],
        "area_share": area["share"],
        "analysed_px": area["analysed_px"],
        "background_px": area["background_px"],
        "dropped_px": area["dropped_px"],
        "um_per_px": slide["um_per_px"],
        **{f"n_{name}": number for name, number in card["counts"].items()},
        "error": "",
    }


def _slide_notes(cards: Sequence[Card]) -> list[str]:
    """What is noted of slides, each remark once, and why a correction that was asked for is not applied."""
    noted: dict[str, list[str]] = defaultdict(list)
    for card in cards:
        reason = (card.get("correction") or {}).get("reason")
        for text in [*([f"the count is not corrected (--performance): {reason}"] if reason else []), *card["notes"]]:
            noted[text].append(card["slide"]["name"])
    shown = [f"{_names(names)}: {text}" for text, names in list(noted.items())[:SHOWN_NOTES]]
    more = len(noted) - SHOWN_NOTES
    return shown if more <= 0 else [*shown, f"{more} more notes on slides are in their count cards (count.json)"]


def _names(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _failed_row(one: Mapping[str, Any]) -> Row:
    known = {"slide": one.get("name"), "patient": one.get("patient", ""), "role": one.get("role", PATIENT)}
    return {**known, "status": "failed", "error": str(one.get("error", ""))}


def _check_alike(cards: Sequence[Card]) -> None:
    names = [card["slide"]["name"] for card in cards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SlideError(f"two count cards are of one slide: {', '.join(twice)}; a slide counts once")
    for key in ALIKE:
        values = {str(card[key]): card["slide"]["name"] for card in cards}
        if len(values) > 1:
            told = "; ".join(f"{name}: {value}" for value, name in sorted(values.items()))
            raise SlideError(f"counts of different `{key}` cannot be added up ({told}); summarise them apart")


def _volume(card: Card) -> float | None:
    """Blood that was looked at on a slide, mL; None where it is unknown."""
    blood_ml = card["slide"]["blood_ml"]
    return None if blood_ml is None else blood_ml * card["area"]["share"]


def _exposure(cards: Sequence[Card], unit: str) -> float:
    """How much of something was looked at, in mL of blood or in slides."""
    return sum(card["area"]["share"] if unit == SLIDES else _volume(card) or 0.0 for card in cards)


def _patients(
    cards: Sequence[Card],
    blanks: Sequence[Card],
    unit: str,
    recovery: Recovery | None,
    failed: Sequence[Mapping[str, Any]],
    confidence: float,
) -> list[Row]:
    groups: dict[tuple[str, str], list[Card]] = defaultdict(list)
    for card in cards:
        slide = card["slide"]
        groups[(slide["patient"], "" if slide["patient"] else slide["name"])].append(card)
    lost: dict[str, list[str]] = defaultdict(list)
    for one in failed:
        if one.get("role", PATIENT) == PATIENT and one.get("patient"):
            lost[one["patient"]].append(str(one["name"]))
            groups.setdefault((one["patient"], ""), [])
    return [
        _patient_row(patient or f"({slide})", found, lost[patient], blanks, unit, recovery, confidence)
        for (patient, slide), found in sorted(groups.items())
    ]


def _patient_row(
    name: str,
    cards: Sequence[Card],
    lost: Sequence[str],
    blanks: Sequence[Card],
    unit: str,
    recovery: Recovery | None,
    confidence: float,
) -> Row:
    named = {
        "patient": name,
        "slides": [card["slide"]["name"] for card in cards],
        "slides_with_parts_missing": [card["slide"]["name"] for card in cards if not card["complete"]],
        "slides_failed": sorted(lost),
    }
    if not cards:  # not a count of 0: nothing was looked at
        return {**named, **dict.fromkeys(COUNTED), "ctc_per_ml": _per_ml(cards, 0, recovery, confidence)}
    count = sum(card["ctc"]["count"] for card in cards)
    doubtful = sum(card["unidentified"] for card in cards)
    found, upper = count_estimate(count, confidence), count_estimate(count + doubtful, confidence)
    return {
        **named,
        "ctc": count,
        "interval": [found.low, found.high],
        "unidentified": doubtful,
        "if_unidentified_were_ctc": {"count": count + doubtful, "interval": [upper.low, upper.high]},
        "ctc_per_ml": _per_ml(cards, count, recovery, confidence),
        "correction": pooled_correction([card.get("correction") or {} for card in cards], count, confidence),
        **_against_blanks(count, cards, blanks, unit),
    }


def _per_ml(cards: Sequence[Card], count: int, recovery: Recovery | None, confidence: float) -> dict[str, Any]:
    volumes = [card["slide"]["blood_ml"] for card in cards]
    undefined = {"value": None, "low": None, "high": None, "blood_ml": None, "confidence": confidence}
    if not cards or None in volumes:
        return {**undefined, "reason": NO_VOLUME if cards else "no slide could be counted"}
    looked = sum(_volume(card) for card in cards)
    if looked <= 0:
        return {**undefined, "reason": NOTHING_SEEN}
    share = min(looked / sum(volumes), 1.0)
    found = per_ml(count, sum(volumes), share, recovery, confidence=confidence)
    applied = None if recovery is None else recovery.value
    return {**found.to_json(), "blood_ml": sum(volumes), "area_share": share, "recovery_applied": applied}


def _against_blanks(count: int, cards: Sequence[Card], blanks: Sequence[Card], unit: str) -> Row:
    """Limits for as much blood as the patient's, and on which side of them the count lies."""
    exposure = _exposure(cards, unit)
    usable = [card for card in blanks if _exposure([card], unit) > 0]
    if not usable or exposure <= 0:
        return dict.fromkeys(LIMITS)
    blank = _limit(usable, unit, exposure)
    detection = limit_of_detection(blank)
    return {
        "limit_of_blank": blank.limit,
        "limit_of_detection": detection.limit,
        "above_blank": count > blank.limit,
        "above_detection": count >= detection.limit,
    }


def _limit(blanks: Sequence[Card], unit: str, exposure: float | None = None) -> Any:
    counts = [card["ctc"]["count"] for card in blanks]
    return limit_of_blank(counts, [_exposure([card], unit) for card in blanks], exposure)


def _blanks(cards: Sequence[Card], unit: str) -> dict[str, Any] | None:
    usable = [card for card in cards if _exposure([card], unit) > 0]
    if not usable:
        return None
    blank = _limit(usable, unit)
    return {
        "slides": [{"slide": card["slide"]["name"], "ctc": card["ctc"]["count"]} for card in usable],
        "unit": unit,
        "limit_of_blank": blank.to_json(),
        "limit_of_detection": limit_of_detection(blank).to_json(),
    }


def _spike_ins(
    cards: Sequence[Card], blanks: Sequence[Card], confidence: float
) -> tuple[dict[str, Any] | None, Recovery | None]:
    """The spike-in samples with the line through them; the recovery is None where there is no line."""
    usable = [card for card in cards if card["area"]["share"] > 0]
    if not usable:
        return None, None
    samples = [
        {
            "slide": card["slide"]["name"],
            "spiked": card["slide"]["spiked"],
            # Cells on the part that could not be read cannot be found.
            "spiked_where_looked": card["slide"]["spiked"] * card["area"]["share"],
            "found": card["ctc"]["count"],
        }
        for card in usable
    ]
    unit = ML if all(_volume(card) is not None for card in (*usable, *blanks)) else SLIDES
    seen = [card for card in blanks if _exposure([card], unit) > 0]
    try:
        recovery = recovery_line(
            [sample["spiked_where_looked"] for sample in samples],
            [sample["found"] for sample in samples],
            exposures=[_exposure([card], unit) for card in usable],
            blank_counts=[card["ctc"]["count"] for card in seen],
            blank_exposures=[_exposure([card], unit) for card in seen],
            confidence=confidence,
        )
    except ValueError as error:
        return {"samples": samples, "recovery": None, "reason": str(error)}, None
    return {"samples": samples, "recovery": recovery.to_json(), "reason": ""}, recovery
