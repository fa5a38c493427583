"""``report.html``: one file that asks nothing of the network, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.counting.performance import Performance
from ctc_mm.counting.records import SlideCount
from ctc_mm.counting.report.cell_cam import CellCAM, heat_pictures
from ctc_mm.counting.report.cell_data import (
    HIGHLIGHTS,
    SCORE_DIGITS,
    cell_columns,
    choose_pictured,
    flag_counts,
    orders_of,
    outlines_of,
    route_columns,
)
from ctc_mm.counting.report.class_looks import ClassLook, class_looks
from ctc_mm.counting.report.curves import curves_of
from ctc_mm.counting.report.doubt import doubts_of
from ctc_mm.counting.report.facts import cover_of, head_of, method_of
from ctc_mm.counting.report.look import ChannelLook, choose_panels, measure_look
from ctc_mm.counting.report.pages import page_template
from ctc_mm.counting.report.sprites import Sheets, jpeg_uri, pack_sheets
from ctc_mm.counting.report.svg import size_histograms
from ctc_mm.counting.report.thumbnails import BLOCK_PX, Thumbnails, choose_window_px, cut_thumbnails
from ctc_mm.counting.report.words import number
from ctc_mm.errors import ImageReadError
from ctc_mm.formats.files import atomic_write_text
from ctc_mm.imaging.field import Field

GALLERY = 2000
# All thumbnails together; 2,000 cells of four pictures each are 80 px a side then.
MOST_PICTURE_PX = 52_000_000
MOST_SIDE_PX = 112
JsonDict = dict[str, Any]


def write_report(
    path: str | Path,
    count: SlideCount,
    card: Mapping[str, Any],
    *,
    field: Field | None = None,
    cams: Mapping[int, CellCAM] | None = None,
    cam_note: str = "",
    performance: Performance | None = None,
    gallery: int = GALLERY,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Path:
    """Write the report of a slide.

    Args:
        path: the file.
        count: the result.
        card: its count card (``count_card.make_card``), whose numbers are shown.
        field: the opened slide, from which pictures of the cells are cut; None: cells are shown as the overview has
            them.
        cams: place of a cell in ``count.cells`` to its Grad-CAM (``cam.explain_count``).
        cam_note: what to say of the Grad-CAMs, or of why there are none.
        performance: of the model in its test; its curves are drawn where their files are.
        gallery: most cells that get pictures of their own.
        track: wraps the loop over tiles, for a progress bar.

    Returns:
        The path.

    Raises:
        ValueError: ``gallery`` below 0.
        SlideError: a curve of the model's test cannot be read.
        OSError: the file cannot be written.
    """
    if gallery < 0:
        raise ValueError(f"`gallery` must be 0 or more. Received: {gallery}")
    looks, doubts = class_looks(count.classes, count.target), doubts_of(count)
    pictured = choose_pictured(count, looks, doubts, gallery) if field is not None else []
    cut, look, problem = _cut(field, count, pictured, track)
    pictured = pictured if cut is not None else []
    sheets = pack_sheets(cut.strips) if cut is not None else None
    cam_sheets, explained = _cam_sheets(cut, look, pictured, cams or {})
    data = page_data(count, looks, doubts, pictured, explained, cut, sheets, cam_sheets, look)
    pictures = _pictures(count, sheets, cam_sheets)
    notes = [*([problem] if problem else []), *_picture_notes(count, pictured, cut, look, field), cam_note]
    html = page_template("report.html.j2").render(
        head=head_of(card),
        cover=cover_of(card),
        notes=list(card["notes"]),
        overview_lead=_overview_lead(count),
        gallery_lead=_gallery_lead(count, looks, pictured) + _order_hint(data),
        picture_notes=[note for note in notes if note],
        sizes={"svg": size_histograms(card["size_um"], looks), "lead": _sizes_lead(card)},
        curves=None if performance is None else curves_of(performance),
        method=method_of(card),
        footer=f"Made by ctc_mm {card['software'].get('ctc_mm', '')}. This file holds everything it shows and asks "
        "nothing of the network. count.json beside it has every number whole, detections.csv every cell.",
        data=data,
        pictures=pictures,
    )
    atomic_write_text(path, html)
    return Path(path)


def page_data(
    count: SlideCount,
    looks: Sequence[ClassLook],
    doubts: Sequence[float | None],
    pictured: Sequence[int],
    explained: Sequence[int],
    cut: Thumbnails | None,
    sheets: Sheets | None,
    cam_sheets: Sheets | None,
    look: ChannelLook | None,
) -> JsonDict:
    """Everything that the page's script works on; without the pictures."""
    counts, flags, columns = count.counts, flag_counts(count.cells), cell_columns(count, doubts, pictured, explained)
    routes = route_columns(count.cells)
    overview = count.overview
    return {
        "size_wh": list(count.size_wh),
        "um_per_px": count.um_per_px,
        "digits": SCORE_DIGITS,
        "classes": [
            {
                "name": one.name, "colour": one.colour, "mark": one.mark, "rank": one.rank, "dashed": one.dashed,
                "target": one.rank == 0, "count": counts[one.name],
            }
            for one in looks
        ],
        "cells": columns,
        "ids": [str(place + 1) for place in range(len(count.cells))],
        "columns": routes,
        "highlights": [place for place, one in enumerate(routes) if one["name"] in HIGHLIGHTS],
        "orders": orders_of(columns, routes),
        "flags": list(flags),
        "flag_counts": list(flags.values()),
        "panels": [panel.name for panel in (look.panels if look else choose_panels(count.channels))],
        "window_px": choose_window_px(_boxes(count)),
        "windows": [] if cut is None else (cut.windows_xyxy[:, 2] - cut.windows_xyxy[:, 0]).tolist(),
        "outlines": outlines_of(count.cells, pictured),
        "sheet": None if sheets is None else sheets.to_dict(),
        "cam": {"count": len(explained), **({} if cam_sheets is None else cam_sheets.to_dict())},
        "overview": None if overview is None else {"scale": overview.scale},
        "lost": [list(region) for drop in count.drops for region in drop.regions_xyxy],
    }  # fmt: skip


def _boxes(count: SlideCount, places: Sequence[int] | None = None) -> np.ndarray:
    cells = count.cells if places is None else [count.cells[place] for place in places]
    return np.array([cell.box_xyxy for cell in cells], np.float64).reshape(-1, 4)


def _cut(
    field: Field | None, count: SlideCount, pictured: Sequence[int], track: Callable[[Iterable[Any]], Iterable[Any]]
) -> tuple[Thumbnails | None, ChannelLook | None, str]:
    """Pictures of the cells; without them where the slide cannot be read any more, and why."""
    if field is None or not pictured:
        return None, None, ""
    boxes = _boxes(count, pictured)
    panels = len(choose_panels(field.channels))
    most = int((MOST_PICTURE_PX / (len(pictured) * panels)) ** 0.5)
    most = max(2 * BLOCK_PX, min(MOST_SIDE_PX, most))
    try:
        look = measure_look(field, boxes)
    except ImageReadError as error:
        return None, None, f"No pictures could be cut from the slide: {error}"
    return cut_thumbnails(field, boxes, look, most_side_px=most, track=track), look, ""


def _cam_sheets(
    cut: Thumbnails | None, look: ChannelLook | None, pictured: Sequence[int], cams: Mapping[int, CellCAM]
) -> tuple[Sheets | None, list[int]]:
    explained = [place for place in pictured if place in cams]
    if cut is None or look is None or not explained:
        return None, []
    numbers = {place: number for number, place in enumerate(pictured)}
    shown = [numbers[place] for place in explained]
    grounds, windows = cut.strips[shown, :, : cut.side_px], cut.windows_xyxy[shown]
    return pack_sheets(heat_pictures(grounds, windows, [cams[place] for place in explained])), explained


def _pictures(count: SlideCount, sheets: Sheets | None, cam_sheets: Sheets | None) -> dict[str, str]:
    """Element id to picture."""
    found = {} if count.overview is None else {"picture-overview": jpeg_uri(count.overview.rgb)}
    for name, one in (("sheet", sheets), ("cam", cam_sheets)):
        found |= {f"{name}-{place}": uri for place, uri in enumerate(one.uris if one is not None else ())}
    return found


def _picture_notes(
    count: SlideCount, pictured: Sequence[int], cut: Thumbnails | None, look: ChannelLook | None, field: Field | None
) -> list[str]:
    if cut is None or look is None or field is None:
        return []
    side = choose_window_px(_boxes(count, pictured))
    um = "" if count.um_per_px is None else f" ({number(side * count.um_per_px)} µm)"
    notes = [f"A picture shows {side} px of the slide{um}; cells that would fill it are shown at a smaller scale."]
    if cut.problems:
        first = next(iter(cut.problems.values()))
        notes.append(f"{len(cut.problems)} pictures could not be read and are plain; the first: {first}")
    return [*notes, f"{look.caption()}."]


def _overview_lead(count: SlideCount) -> str:
    width, height = count.size_wh
    size = f"{number(width)} × {number(height)} px"
    if count.um_per_px is not None:
        size += f", {number(width * count.um_per_px / 1000)} × {number(height * count.um_per_px / 1000)} mm"
    why = [
        *(["could not be read"] if not count.is_complete else []),
        *(["were not imaged"] if count.area.gap_px else []),
    ]
    lost = f" Hatched parts {' or '.join(why)}." if why else ""
    missing = " This count came without a picture of the slide." if count.overview is None else ""
    return f"The slide, {size}, with every cell in its place.{lost}{missing}"


def _order_hint(data: JsonDict) -> str:
    """How to see the cells first that a reader should doubt, where the page does not begin with them."""
    keys = [order["key"] for order in data["orders"]]
    hint = " Sort by doubt to look first at those nearest to the threshold."
    return hint if "doubt" in keys[1:] else ""


def _gallery_lead(count: SlideCount, looks: Sequence[ClassLook], pictured: Sequence[int]) -> str:
    if not count.cells:
        return "There is nothing to look at."
    first = f"{count.target} first, then unidentified cells, then the others."
    if len(pictured) == len(count.cells):
        return f"All {number(len(count.cells))} cells: {first}"
    if not pictured:
        return f"All {number(len(count.cells))} cells as the overview shows them: {first}"
    shown = [(one.name, sum(count.cells[place].class_name == one.name for place in pictured)) for one in looks]
    words = ", ".join(f"{name} {number(found)} of {number(count.counts[name])}" for name, found in shown if found)
    return (
        f"All {number(len(count.cells))} cells: {first} {number(len(pictured))} of them have pictures of their own "
        f"({words}; in each class those nearest to the threshold); the others are shown as the overview has them."
    )


def _sizes_lead(card: Mapping[str, Any]) -> str:
    sizes = card["size_um"]
    unknown = sum(one["n_unknown"] for one in sizes["by_class"].values())
    if not sizes["edges_um"]:
        return "No cell has a diameter in µm" + (": the pixel size is not known." if unknown else ".")
    rest = f" {number(unknown)} cells without a diameter are not drawn." if unknown else ""
    return f"Diameter of the cells by class. Each class has a height of its own; the dashed line is its median.{rest}"
