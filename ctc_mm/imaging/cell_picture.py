"""Picture of the cells found in a bright-field image, with the reasons against using some of them on their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ctc_mm.imaging.cells import DIAMETER_UM, USUAL_UM_PER_PX, CellMeasurement, measure_cells, segment_cells
from ctc_mm.imaging.display import as_rgb, measure_display_range, stretch_for_display
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.legend import LegendEntry
from ctc_mm.imaging.overlay import LineStyle, View, draw_outline, label_outlines
from ctc_mm.imaging.pictures import Picture, caption_of_display, finish_picture, in_units, view_of
from ctc_mm.imaging.text import Text, draw_texts

# Of Okabe and Ito's colours, two that are told apart by everybody and stand out from a bright field.
BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)
LETTERS = {
    "overlap": "O", "clump": "C", "out_of_focus": "F", "irregular": "I", "small": "S", "large": "L", "border": "B",
}  # fmt: skip
_DASH = (4, 3)
# Wider than for fluorescence: where the light is uneven, cells in the corners are not to drown in black or white.
BRIGHT_FIELD_PERCENTILES = (0.02, 99.98)
_GROUND_RGB = (205, 205, 205)
_PAPER_RGB = (255, 255, 255)
# Height of a tag, which grows with the zoom.
_TAG_PX = 11
# A cell drawn smaller than this has no room for letters.
_LEAST_TAGGED_PX = 14


def draw_cells(
    field: Field,
    *,
    method: str = "robust",
    diameter_um: tuple[float, float] = DIAMETER_UM,
    region_xyxy: RegionXYXY | None = None,
    zoom: float | None = None,
) -> Picture:
    """Picture of the cells of a bright-field image: outlines, reasons against them, numbers, median diameter.

    Args:
        field: one channel, or red, green and blue. It is read and segmented whole, also where a region is shown.
        method: of ``segment_cells``.
        diameter_um: smallest and largest diameter of a cell.
        region_xyxy: what to show, half-open pixels; None: all.
        zoom: picture pixels per field pixel; None: chosen by size.

    Raises:
        ValueError: a field of other channels, an unknown method, diameters, region or zoom that cannot be meant.
        ImageReadError: damaged pixels.
    """
    view = view_of(field, region_xyxy, zoom)
    image = _read(field)
    labels = segment_cells(image, method, um_per_px=field.um_per_px, diameter_um=diameter_um)
    outlines = {one.label: one for one in label_outlines(labels) if one.is_in(view.region_xyxy)}
    measured = measure_cells(labels, image, field.um_per_px, diameter_um if field.um_per_px else None)
    cells = [cell for cell in measured if cell.label in outlines]
    shown = measure_display_range(image, BRIGHT_FIELD_PERCENTILES)
    x0, y0, x1, y1 = view.region_xyxy
    canvas = as_rgb(view.enlarge(stretch_for_display(image[y0:y1, x0:x1], shown)))
    styles = _styles(view)
    for cell in cells:
        # Cells may be darker than any line: a white row inside the line shows it on every ground.
        draw_outline(canvas, outlines[cell.label], view, LineStyle(_PAPER_RGB, None, styles[0].width_px + 1))
        draw_outline(canvas, outlines[cell.label], view, styles[not cell.is_single])
    _draw_tags(canvas, cells, view)
    display = caption_of_display([("", shown)], BRIGHT_FIELD_PERCENTILES)
    captions = [_caption_of_sizes(field, diameter_um, cells), display]
    title = f"bright-field cells, method {method}"
    image_rgb = finish_picture(canvas, field, view, title, _entries(cells, styles), captions, _GROUND_RGB)
    return Picture(image_rgb, _summary(cells, field))


def _styles(view: View) -> tuple[LineStyle, LineStyle]:
    """Lines of good and of flagged cells."""
    width_px = view.line_px + (view.zoom > 1)
    return LineStyle(BLUE, None, width_px), LineStyle(VERMILLION, _DASH, width_px)


def _read(field: Field) -> np.ndarray:
    """The whole image, (H, W) or (H, W, 3).

    Raises:
        ValueError: neither one channel nor three colours.
    """
    planes = field.read()
    if len(planes) == 1:
        return planes[0]
    if len(planes) == 3:
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    raise ValueError(
        f"{field.name}: a bright-field image has one channel or three colours. Received: {', '.join(field.channels)}"
    )


def _draw_tags(canvas: np.ndarray, cells: Sequence[CellMeasurement], view: View) -> None:
    """Letters of the reasons in the middle of each cell that has any."""
    size_px = _TAG_PX + 2 * min(round(view.zoom), 4)
    texts = []
    for cell in cells:
        if cell.reasons and cell.diameter_px * view.zoom >= _LEAST_TAGGED_PX:
            ((y, x),) = view.to_picture(np.array([cell.centroid_yx])).tolist()
            letters = "".join(LETTERS[reason] for reason in cell.reasons)
            texts.append(Text(letters, (x, y), size_px, VERMILLION, _PAPER_RGB, "middle-middle"))
    draw_texts(canvas, texts)


def _entries(cells: Sequence[CellMeasurement], styles: tuple[LineStyle, LineStyle]) -> list[LegendEntry]:
    """Good cells, then one entry a reason that occurs; a cell may have several."""
    counts = Counter(reason for cell in cells for reason in cell.reasons)
    good = sum(cell.is_single for cell in cells)
    entries = [LegendEntry(f"good cells: {good}", styles[0])]
    return entries + [
        LegendEntry(f"{reason}: {counts[reason]}", styles[1], tag=letter)
        for reason, letter in LETTERS.items()
        if counts[reason]
    ]


def _caption_of_sizes(field: Field, diameter_um: tuple[float, float], cells: Sequence[CellMeasurement]) -> str:
    assumed = "" if field.um_per_px else f", taking {USUAL_UM_PER_PX:g} µm per pixel since the image does not say"
    return (
        f"Cells of {diameter_um[0]:g} to {diameter_um[1]:g} µm are looked for{assumed}. "
        f"Median diameter of the good cells: {_median_diameter(cells, field)}. A flagged cell may have several reasons."
    )


def _median_diameter(cells: Sequence[CellMeasurement], field: Field) -> str:
    diameters = [cell.diameter_px for cell in cells if cell.is_single]
    return in_units(float(np.median(diameters)), field.um_per_px) if diameters else "-"


def _summary(cells: Sequence[CellMeasurement], field: Field) -> tuple[str, ...]:
    good = sum(cell.is_single for cell in cells)
    counts = Counter(reason for cell in cells for reason in cell.reasons)
    return (
        f"cells: {len(cells)} (good {good}, flagged {len(cells) - good})",
        f"median diameter of good cells: {_median_diameter(cells, field)}",
        *(f"  {reason}: {counts[reason]}" for reason in LETTERS if counts[reason]),
    )
