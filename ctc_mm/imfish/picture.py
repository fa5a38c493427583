"""Picture of what the imFISH rule said of a field: nuclei by verdict, their CEP8 signals, the three channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ctc_mm.imaging.display import (
    FLUORESCENCE_PERCENTILES,
    RGB,
    DisplayRange,
    composite,
    measure_field_range,
    stretch_for_display,
)
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.legend import LegendEntry
from ctc_mm.imaging.overlay import LabelOutline, LineStyle, View, draw_outline, draw_rings
from ctc_mm.imaging.pictures import (
    YELLOW,
    Picture,
    caption_of_display,
    finish_picture,
    in_units,
    nuclei_around,
    view_of,
)
from ctc_mm.imaging.text import Text, draw_texts, text_width
from ctc_mm.imfish.records import CD45_POSITIVE, CTC, FieldResult, NucleusRecord

# As the microscope shows them (paper imfish-cnn-2022, "Detection Standard of CTCs"): blue, orange, red.
CHANNEL_COLOURS: dict[str, RGB] = {"dapi": (45, 85, 255), "cep8": (255, 150, 0), "cd45": (235, 25, 45)}
_WHITE, _PINK, _GREY = (255, 255, 255), (255, 170, 215), (190, 190, 190)
_RING = LineStyle(_WHITE)

# Letter beside the number of signals, colour, dashes, width in thin lines.
_LOOKS: dict[str, tuple[str, RGB, tuple[int, int] | None, int]] = {
    CTC: ("C", YELLOW, None, 2),
    CD45_POSITIVE: ("W", _PINK, (6, 3), 1),
    "aggregate": ("A", _GREY, (2, 3), 1),
    "overlap": ("O", _GREY, (2, 3), 1),
    "debris": ("D", _GREY, (2, 3), 1),
    "out_of_focus": ("F", _GREY, (2, 3), 1),
    "border": ("B", _GREY, (2, 3), 1),
}
_TOO_FEW_SIGNALS = ("N", _WHITE, None, 1)

# Height of a tag, which grows with the zoom.
_TAG_PX = 11
# A nucleus drawn smaller than this has no room for a tag beside it; CTCs keep theirs.
_LEAST_TAGGED_PX = 18
# A ring leaves the signal free to be seen.
_RING_PER_SPOT = 1.2
_LEAST_RING_PX = 4.0


def draw_imfish(
    field: Field, result: FieldResult, *, region_xyxy: RegionXYXY | None = None, zoom: float | None = None
) -> Picture:
    """Picture of the verdicts on a field, over its channels in their usual colours.

    Args:
        field: the field, with channels ``dapi``, ``cep8`` and, where there is one, ``cd45``.
        result: what the rule gave for all of it.
        region_xyxy: what to show, half-open pixels; None: all.
        zoom: picture pixels per field pixel; None: chosen by size.

    Raises:
        ValueError: a result of a field of another size, an unknown channel, a wrong region or zoom.
        ImageReadError: damaged pixels.
    """
    if result.size_wh != field.size_wh:
        raise ValueError(f"the result is of a field of {result.size_wh} px, {field.name!r} has {field.size_wh}")
    view = view_of(field, region_xyxy, zoom)
    settings = result.thresholds.settings
    outlines = nuclei_around(field, "dapi", view.region_xyxy, settings.method, result.thresholds.nuclei)
    drawn, unjudged = _match(result.records, outlines, view.region_xyxy)
    records = [record for record, _ in drawn]
    canvas, channels, display = _show_channels(field, view)
    for record, outline in drawn:
        draw_outline(canvas, outline, view, _style(record.reason, view))
    for record in records:
        radius_px = max(_LEAST_RING_PX, _RING_PER_SPOT * result.thresholds.spots.diameter_px)
        draw_rings(canvas, np.array(record.spots_yx).reshape(-1, 2), view, radius_px, _RING)
    _draw_tags(canvas, records, view)
    captions = [_caption_of_tags(), *_captions_of_rule(result), *unjudged, display]
    entries = [*_verdict_entries(records, view), *channels]
    title = f"imFISH, mode {settings.mode}, nuclei by method {settings.method}"
    image = finish_picture(canvas, field, view, title, entries, captions)
    return Picture(image, _summary(records, result, field))


def verdict_look(reason: str) -> tuple[str, RGB, tuple[int, int] | None, int]:
    """Letter, colour, dashes and width (in thin lines) for a reason of a verdict."""
    return _LOOKS.get(reason, _TOO_FEW_SIGNALS)


def _style(reason: str, view: View) -> LineStyle:
    _, colour, dash, width = verdict_look(reason)
    return LineStyle(colour, dash, width * view.line_px)


def _match(
    records: Iterable[NucleusRecord], outlines: Sequence[LabelOutline], region_xyxy: RegionXYXY
) -> tuple[list[tuple[NucleusRecord, LabelOutline]], list[str]]:
    """Each record in the region with its outline, and a sentence on nuclei without a record, if any.

    A record whose outline was not found again is drawn as its box.
    """
    by_box = {(outline.box_xyxy, outline.area_px): outline for outline in outlines}
    drawn = []
    for record in records:
        x0, y0, x1, y1 = box = tuple(round(value) for value in record.box_xyxy)
        outline = by_box.pop((box, record.area_px), None)
        if outline is None:
            outline = LabelOutline(0, np.ones((y1 - y0, x1 - x0), bool), (x0, y0))
        if outline.is_in(region_xyxy):
            drawn.append((record, outline))
    unjudged = sum(outline.is_in(region_xyxy) for outline in by_box.values())
    return drawn, [f"{unjudged} nuclei without a verdict are not drawn."] if unjudged else []


def _show_channels(field: Field, view: View) -> tuple[np.ndarray, list[LegendEntry], str]:
    """The composite in the size of the picture, its channels for the legend, and how they were made visible."""
    names = [name for name in CHANNEL_COLOURS if name in field.channels]
    ranges: list[tuple[str, DisplayRange]] = []
    planes = []
    for name in names:
        shown = measure_field_range(field, name, FLUORESCENCE_PERCENTILES)
        planes.append(view.enlarge(stretch_for_display(field.read([name], view.region_xyxy)[0], shown)))
        ranges.append((name, shown))
    colours = [CHANNEL_COLOURS[name] for name in names]
    entries = [
        LegendEntry(name.upper(), LineStyle(colour), "area") for name, colour in zip(names, colours, strict=True)
    ]
    return composite(planes, colours), entries, caption_of_display(ranges, FLUORESCENCE_PERCENTILES)


def _draw_tags(canvas: np.ndarray, records: Iterable[NucleusRecord], view: View) -> None:
    """Number of signals and letter of the verdict, beside the upper right of each nucleus, or left at the edge."""
    size_px = _TAG_PX + 2 * min(round(view.zoom), 4)
    texts = []
    for record in records:
        letter, colour, _, _ = verdict_look(record.reason)
        x0, y0, x1, y1 = record.box_xyxy
        if not record.is_ctc and max(x1 - x0, y1 - y0) * view.zoom < _LEAST_TAGGED_PX:
            continue
        tag = f"{record.cep8_count}{letter}"
        (top, left), (_, right) = view.to_picture(np.array([[y0, x0], [y0, x1]])).tolist()
        width = text_width(tag, size_px) + 2
        x = right + 1 if right + 1 + width <= canvas.shape[1] else left - width
        y = max(top, size_px / 2)
        texts.append(Text(tag, (max(x, 1), y), size_px, colour, (0, 0, 0), "left-middle"))
    draw_texts(canvas, texts)


def _verdict_entries(records: Sequence[NucleusRecord], view: View) -> list[LegendEntry]:
    """One entry a reason that occurs, CTCs first and always, and one for the signals."""
    counts = Counter(record.reason for record in records)
    places = {reason: place for place, reason in enumerate(_LOOKS)}
    # cep8_0, cep8_1, ... have no place of their own: after the CTCs, before those with CD45.
    reasons = sorted({CTC, *counts}, key=lambda reason: (places.get(reason, 0.5), reason))
    entries = [
        LegendEntry(f"{reason}: {counts[reason]}", _style(reason, view), tag=verdict_look(reason)[0])
        for reason in reasons
    ]
    signals = sum(record.cep8_count for record in records)
    return [*entries, LegendEntry(f"CEP8 signals in nuclei: {signals}", _RING, "ring")]


def _caption_of_tags() -> str:
    return (
        "At each nucleus: number of CEP8 signals and letter of the verdict (C CTC; N fewer signals than a CTC; W CD45 "
        "positive; not judged: A aggregate, O overlap, D debris, F out of focus, B cut by the field's border)."
    )


def _captions_of_rule(result: FieldResult) -> list[str]:
    thresholds = result.thresholds
    rule = f"Rule: CTC from {thresholds.settings.min_signals} signals"
    if thresholds.settings.mode == "full" and thresholds.cd45_threshold is not None:
        rule += f", CD45 below {thresholds.cd45_threshold:.4g} grey values above background ({thresholds.cd45_source})"
    sizes = {
        "image": "",
        "nuclei": f" Size of a pixel not given: {thresholds.um_per_px:.3g} µm judging by the median nucleus.",
        "assumed": f" Size of a pixel not given: {thresholds.um_per_px:.3g} µm assumed.",
    }[thresholds.um_per_px_source]
    total = f"Whole field: {len(result.records)} nuclei, {result.ctc_count} CTCs."
    return [f"{rule}. Thresholds are those of the whole field.{sizes} {total}"]


def _summary(records: Sequence[NucleusRecord], result: FieldResult, field: Field) -> tuple[str, ...]:
    counts = Counter(record.reason for record in records)
    diameters = [2 * (record.area_px / np.pi) ** 0.5 for record in records if record.reason != "border"]
    median = in_units(float(np.median(diameters)), field.um_per_px) if diameters else "-"
    shown = f"nuclei: {len(records)} shown of {len(result.records)} in the field"
    reasons = sorted({CTC, *counts}, key=lambda reason: (reason != CTC, reason))
    return (
        shown,
        f"median diameter of whole nuclei: {median}",
        *(f"  {reason}: {counts[reason]}" for reason in reasons),
        f"CEP8 signals in nuclei: {sum(record.cep8_count for record in records)}",
        f"CTCs in the whole field: {result.ctc_count}",
    )
