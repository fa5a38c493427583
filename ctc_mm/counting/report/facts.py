"""What the head of a report says, from the count card: the count first, and what was not looked at beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ctc_mm.counting.performance import ASSUMED
from ctc_mm.counting.records import BLANK, SPIKE_IN, UNIDENTIFIED
from ctc_mm.counting.report.words import NOT_KNOWN, flat_rows, interval, number, percent, plain, plural

Card = Mapping[str, Any]
JsonDict = dict[str, Any]

MEANING = (
    "What chance alone leaves open: the mean number of {target} on slides like this one that the count agrees with "
    "(exact Poisson). It does not say whether the cells are {target}, nor how many were lost before the slide."
)
REMOVALS = {
    "seam_duplicate": "placed by two windows on both sides of their seam, counted once",
    "other_window": "seen in the margin of a window, counted by its neighbour",
    "other_class": "another class scored better in the same place",
    "too_large": "larger than a cell may be, and of no class that is counted",
    "outside_slide": "boxes in the mirrored padding beyond the slide's edge, no cells of the slide",
    "dropped_window": "in a window that could not be read whole",
    "doubtful_inside_a_cell": "below the threshold, inside a cell that was found",
}
# What windows see in one another's margins is no loss; it is listed with the rest of the method.
ORDINARY_REMOVAL = "other_window"
UM_SOURCES = {
    "given": "given by the user",
    "file": "from the file",
    "nuclei": "measured from the nuclei",
    "assumed": "assumed",
    "unknown": "not known",
}


def head_of(card: Card) -> JsonDict:
    """Title, count with interval, and the figures under it."""
    slide, ctc, target = card["slide"], card["ctc"], card["target"]
    words = ["CTC count", f"route {card['route']}"]
    words += [f"patient {slide['patient']}"] if slide["patient"] else []
    words += [f"model {card['model']['name']}"] if (card.get("model") or {}).get("name") else []
    return {
        "name": slide["name"],
        "eyebrow": words,
        "badges": _badges(card),
        "count": number(ctc["count"]),
        "target": target,
        "interval": f"{percent(ctc['confidence'])} interval {interval(*ctc['interval'])}",
        "meaning": MEANING.format(target=target),
        "definition": card["definition"],
        "figures": [*_concentration(card), *_doubtful(card), *_corrected(card), *_spiked(card), *_others(card)],
    }


def _badges(card: Card) -> list[JsonDict]:
    role = card["slide"]["role"]
    names = {BLANK: "blank control", SPIKE_IN: "spike-in control"}
    badges = [{"text": names[role], "warn": False}] if role in names else []
    return badges if card["complete"] else [*badges, {"text": "parts of the slide not read", "warn": True}]


def _concentration(card: Card) -> list[JsonDict]:
    found, slide, name = card["ctc_per_ml"], card["slide"], f"{card['target']} per mL of blood"
    if found["value"] is None:
        return [{"name": name, "value": NOT_KNOWN, "note": found["reason"]}]
    note = f"{number(slide['blood_ml'])} mL of blood on this slide"
    if slide["dilution"] != 1:
        note += f" ({number(slide['volume_ml'])} mL of sample; each mL of blood became {number(slide['dilution'])} mL)"
    if not card["complete"]:
        note += f", of which {percent(card['area']['share'])} was read"
    if card["area"]["gap_px"]:
        note += "; all of it on what was imaged, none in the gaps"
    if found.get("recovery_applied") is not None:
        without = found["without_recovery"]
        note += f"; divided by the recovery, {percent(found['recovery_applied'])}. Without: {with_interval(without)}"
    return [{"name": name, "value": with_interval(found), "note": note}]


def _doubtful(card: Card) -> list[JsonDict]:
    number_of, target, flags = card["unidentified"], card["target"], card["ctc"]["flags"]
    note = ""
    if number_of:
        upper = card["ctc"]["if_unidentified_were_ctc"]
        note = f"were all of them {target}: {number(upper['count'])} ({interval(*upper['interval'])})"
    figures = [{"name": "Unidentified", "value": plural(number_of, "cell"), "note": note}]
    if flags:
        words = ", ".join(f"{plain(name)} {number(count)}" for name, count in flags.items())
        figures.append({"name": f"Flags on {target}", "value": words, "note": "a cell may have several; look at them"})
    whole = card["ctc"]["on_whole_slide"]
    if not card["complete"] and whole is not None:
        note = "if what could not be read held as many as the rest"
        figures.append({"name": f"{target} on the whole slide", "value": with_interval(whole), "note": note})
    return figures


def _corrected(card: Card) -> list[JsonDict]:
    found = card.get("correction")
    if found is None:
        return []
    seen = found["sensitivity"]
    tested = ", ".join(f"{number(count)} {plain(what)}" for what, count in found["tested_on"].items())
    note = (
        f"by the model's test: {number(seen['k'])} of {number(seen['n'])} {card['target']} found, "
        f"{number(found['false_positives'])} false in {tested}"
    )
    note += f" (their area {found['test_area_source']})" if found.get("test_area_source") == ASSUMED else ""
    note += f"; assumes false {card['target']} {_false_rate(found)} as in the test: compare with your blanks"
    value = NOT_KNOWN if found["value"] is None else with_interval(found)
    return [{"name": "Corrected count", "value": value, "note": found.get("reason") or note}]


def _false_rate(correction: Mapping[str, Any]) -> str:
    return "per area" if "test_area_px" in correction else "among other cells"


def _spiked(card: Card) -> list[JsonDict]:
    spiked = card["slide"]["spiked"]
    if spiked is None:
        return []
    found = f"{percent(card['ctc']['count'] / spiked)} of them found" if spiked else ""
    return [{"name": "Cells added", "value": number(spiked), "note": found}]


def _others(card: Card) -> list[JsonDict]:
    others = [name for name in card["counts"] if name not in (card["target"], UNIDENTIFIED)]
    if not others:
        return []
    words = ", ".join(f"{name} {number(card['counts'][name])}" for name in others)
    return [{"name": "Other cells", "value": words, "note": ""}]


def with_interval(estimate: Mapping[str, Any]) -> str:
    """A number and its interval: ``4.69 (2.14 to 8.90)``."""
    return f"{number(estimate['value'])} ({interval(estimate['low'], estimate['high'])})"


def cover_of(card: Card) -> JsonDict:
    """How much of the slide the count is of: looked at, taken for empty, lost, and what nobody imaged; with reasons."""
    area = card["area"]
    parts = [
        _part("looked", "Looked at", "analysed", area),
        _part("empty", "Skipped as empty by a test", "background", area),
        _part("lost", "Could not be read", "dropped", area),
        *([_part("gap", "Not imaged (gaps)", "gap", area)] if area["gap_px"] else []),
    ]
    reasons = [_reason(drop) for drop in card["drops"]]
    reasons += [
        {"what": f"{plural(count, 'object')} left out:", "why": REMOVALS.get(name, plain(name))}
        for name, count in card["removals"].items()
        if count and name != ORDINARY_REMOVAL
    ]
    if card["complete"]:
        reasons.insert(0, {"what": "Nothing was lost:", "why": "everything that was imaged could be read."})
    words = ", ".join(f"{part['name'].lower()} {part['value']}" for part in parts)
    return {"title": "What was not looked at", "parts": parts, "reasons": reasons, "words": words}


def _part(kind: str, name: str, key: str, area: Mapping[str, Any]) -> JsonDict:
    share, mm2 = area[f"{key}_px"] / (area["total_px"] + area["gap_px"]), area[f"{key}_mm2"]
    size = f" · {number(mm2)} mm²" if mm2 else "" if not area[f"{key}_px"] else f" · {number(area[f'{key}_px'])} px"
    return {"kind": kind, "name": name, "share": share, "value": percent(share) + size}


def _reason(drop: Mapping[str, Any]) -> JsonDict:
    area = f" ({number(drop['area_px'])} px)" if drop["area_px"] else ""
    return {"what": f"{plural(drop['count'], drop['kind'])}{area}:", "why": drop["reason"]}


def method_of(card: Card) -> list[JsonDict]:
    """Tables of everything that the count rests on, in the order in which a reader asks for it."""
    ctc = card["ctc"]
    reading = [
        ("interval of the count", ctc["method"]),
        *([("CTC per mL", card["ctc_per_ml"]["method"])] if card["ctc_per_ml"].get("method") else []),
        *([("corrected count", card["correction"]["method"])] if (card.get("correction") or {}).get("method") else []),
    ]
    parts = [
        ("Slide", _slide_rows(card)),
        ("Thresholds", flat_rows(card["thresholds"])),
        ("Model", flat_rows(card["model"]) if card["model"] else [("model", "none: a rule on measurements decides")]),
        ("Settings", flat_rows(card["settings"])),
        ("Left out", _left_out(card)),
        ("Intervals", [(name, value) for name, value in reading if value]),
        ("Software", flat_rows(card["software"])),
    ]
    return [{"title": title, "rows": rows or [("–", "none")]} for title, rows in parts]


def _left_out(card: Card) -> list[tuple[str, str]]:
    rows = [(_reason(drop)["what"].rstrip(":"), drop["reason"]) for drop in card["drops"]]
    return [*rows, *((REMOVALS.get(name, plain(name)), number(count)) for name, count in card["removals"].items())]


def _slide_rows(card: Card) -> list[tuple[str, str]]:
    slide = card["slide"]
    um, source = slide["um_per_px"], UM_SOURCES.get(slide["um_per_px_source"], slide["um_per_px_source"])
    files = [PurePath(path).name for path in slide["files"].values()]
    return [
        ("file" if len(files) == 1 else "files", ", ".join(dict.fromkeys(files))),
        ("size", " × ".join(number(side) for side in slide["size_wh"]) + " px"),
        ("pixel size", NOT_KNOWN if um is None else f"{um:.6g} µm per px, {source}"),
        ("channels", ", ".join(slide["channels"])),
        ("patient", slide["patient"] or NOT_KNOWN),
        ("role", plain(slide["role"])),
        ("volume of sample", NOT_KNOWN if slide["volume_ml"] is None else f"{number(slide['volume_ml'])} mL"),
        ("dilution", f"{number(slide['dilution'])} mL of sample from each mL of blood"),
        ("blood on the slide", NOT_KNOWN if slide["blood_ml"] is None else f"{number(slide['blood_ml'])} mL"),
    ]
