"""Pictures to check by eye what was found in a field: what every such picture has, and that of nuclei."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ctc_mm.formats.files import atomic_write_bytes
from ctc_mm.imaging.display import (
    GREY_PERCENTILES,
    DisplayRange,
    as_rgb,
    measure_field_range,
    stretch_for_display,
)
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.legend import LegendEntry, add_legend
from ctc_mm.imaging.nuclei import NUCLEUS_HALO_PX, NucleusLevels, NucleusLevelsPass, segment_nuclei
from ctc_mm.imaging.overlay import LabelOutline, LineStyle, View, choose_zoom, draw_outline, label_outlines
from ctc_mm.imaging.scale_bar import choose_scale_bar

# The colours are those of Okabe and Ito, which readers with any kind of colour vision can tell apart.
YELLOW, SKY_BLUE = (240, 228, 66), (86, 180, 233)
WHOLE_DASH, CUT_DASH = None, (3, 3)

_LEVELS_TILE_PX = 2048
# Regions are read from multiples of this, so that filters start where those of any other tile do.
_ALIGN_PX = 64


@dataclass(frozen=True)
class Picture:
    """A picture and its numbers in words.

    Attributes:
        image_rgb: uint8 (H, W, 3).
        summary: lines for a terminal.
    """

    image_rgb: np.ndarray
    summary: tuple[str, ...]

    def save(self, path: str | Path) -> None:
        """Write it as PNG, whole or not at all; the same picture gives the same bytes.

        Raises:
            ValueError: the file name does not end in ``.png``.
        """
        if Path(path).suffix.lower() != ".png":
            raise ValueError(f"{path}: pictures are written as PNG; give a file name ending in .png")
        encoded = io.BytesIO()
        # OpenCV would write three times as many bytes: drawn pictures have long runs, which it does not look for.
        Image.fromarray(self.image_rgb).save(encoded, format="PNG", compress_level=6)
        atomic_write_bytes(path, encoded.getvalue())


def view_of(field: Field, region_xyxy: RegionXYXY | None = None, zoom: float | None = None) -> View:
    """Choose what a picture shows of a field.

    Args:
        field: the field.
        region_xyxy: half-open pixels inside the field; None: all of it.
        zoom: picture pixels per field pixel; None: chosen by the size of the region.

    Raises:
        ValueError: a region that is empty or leaves the field, a zoom that is no whole number nor one over it.
    """
    width, height = field.size_wh
    region = (0, 0, width, height) if region_xyxy is None else region_xyxy
    if region[2] > width or region[3] > height:
        raise ValueError(f"region {region} leaves field {field.name!r} of {width} x {height} px")
    return View(region, choose_zoom(region) if zoom is None else zoom)


def finish_picture(
    canvas: np.ndarray,
    field: Field,
    view: View,
    title: str,
    entries: Sequence[LegendEntry],
    captions: Sequence[str],
    ground_rgb: tuple[int, int, int] = (25, 25, 25),
) -> np.ndarray:
    """Add scale bar and legend to a drawn canvas; what is true of every picture is said in the captions.

    Args:
        canvas: uint8 (H, W, 3), of the size of ``view``.
        field: what it shows.
        view: the part of it.
        title: what was looked for, and how.
        entries: of the legend.
        captions: sentences for the small print, before those of every picture.
        ground_rgb: behind the samples of the legend.

    Returns:
        uint8 (H', W', 3) RGB.
    """
    bar = choose_scale_bar(canvas.shape[1], view.zoom, field.um_per_px)
    captions = [*captions, _caption_of_view(field, view), *field.notes]
    return add_legend(canvas, f"{field.name}: {title}", entries, captions, bar, ground_rgb)


def _caption_of_view(field: Field, view: View) -> str:
    (width, height), (x0, y0, x1, y1) = field.size_wh, view.region_xyxy
    whole = (x1 - x0, y1 - y0) == (width, height)
    shown = f"Field of {width} x {height} px" + ("" if whole else f", of it x {x0} to {x1}, y {y0} to {y1}")
    factor = view.zoom if view.zoom >= 1 else 1 / view.zoom
    sized = "" if factor == 1 else f", {'enlarged' if view.zoom > 1 else 'reduced'} {factor:g} times"
    scale = "size of a pixel not known" if field.um_per_px is None else f"1 px = {field.um_per_px:.4g} µm"
    return f"{shown}{sized}; {scale}."


def caption_of_display(ranges: Sequence[tuple[str, DisplayRange]], percentiles: tuple[float, float]) -> str:
    """Say how pixels were made visible, and that nothing was measured on that."""
    listed = "; ".join(f"{name} {shown}" if name else str(shown) for name, shown in ranges)
    return (
        f"Brightness stretched for display only: grey values {listed} from black to full "
        f"(percentiles {percentiles[0]:g} and {percentiles[1]:g} of the field)."
    )


def in_units(diameter_px: float, um_per_px: float | None) -> str:
    """A length in µm where the size of a pixel is known, otherwise in pixels."""
    return f"{diameter_px:.1f} px" if um_per_px is None else f"{diameter_px * um_per_px:.1f} µm"


def median_diameter(outlines: Sequence[LabelOutline], um_per_px: float | None) -> str:
    """Median equivalent diameter in words; ``-`` where there is none."""
    diameters = [outline.diameter_px for outline in outlines]
    return in_units(float(np.median(diameters)), um_per_px) if diameters else "-"


def draw_nuclei(
    field: Field,
    channel: str,
    *,
    method: str = "robust",
    region_xyxy: RegionXYXY | None = None,
    zoom: float | None = None,
) -> Picture:
    """Picture of the nuclei found in a channel: outlines, number, median diameter.

    Args:
        field: the field; its levels are taken of all of it, also where a region is shown.
        channel: name of its DAPI channel.
        method: of ``segment_nuclei``.
        region_xyxy: what to show, half-open pixels; None: all.
        zoom: picture pixels per field pixel; None: chosen by size.

    Raises:
        ValueError: an unknown channel, method, region or zoom.
        ImageReadError: damaged pixels.
    """
    view = view_of(field, region_xyxy, zoom)
    found = nuclei_around(field, channel, view.region_xyxy, method)
    outlines = [outline for outline in found if outline.is_in(view.region_xyxy)]
    shown = measure_field_range(field, channel)
    pixels = field.read([channel], view.region_xyxy)[0]
    canvas = as_rgb(view.enlarge(stretch_for_display(pixels, shown)))
    whole, cut = _split(outlines, lambda outline: not outline.is_cut(field.size_wh))
    styles = LineStyle(YELLOW, WHOLE_DASH, view.line_px), LineStyle(SKY_BLUE, CUT_DASH, view.line_px)
    for outline in outlines:
        style = styles[outline.is_cut(field.size_wh)]
        draw_outline(canvas, outline, view, style)
    diameter = median_diameter(whole, field.um_per_px)
    entries = [
        LegendEntry(f"whole nuclei: {len(whole)}", styles[0]),
        LegendEntry(f"cut by the field's edge: {len(cut)}", styles[1]),
    ]
    captions = [
        f"Median diameter of the whole nuclei: {diameter} (of the disc of the same area).",
        caption_of_display([("", shown)], GREY_PERCENTILES),
    ]
    image = finish_picture(canvas, field, view, f"nuclei, method {method}", entries, captions)
    summary = (
        f"nuclei: {len(outlines)} (whole {len(whole)}, cut by the field's edge {len(cut)})",
        f"median diameter of whole nuclei: {diameter}",
    )
    return Picture(image, summary)


def nuclei_around(
    field: Field, channel: str, region_xyxy: RegionXYXY, method: str, levels: NucleusLevels | None = None
) -> list[LabelOutline]:
    """Find the nuclei in a region of a field and around it, with the levels of the whole field.

    Args:
        field: the field.
        channel: name of its DAPI channel.
        region_xyxy: half-open pixels of the field.
        method: of ``segment_nuclei``. The paper's and the learned one look at the whole field, whatever the region.
        levels: of the field for the robust method; None measures them.

    Returns:
        All nuclei that reach into the region, each whole, and some beyond it.
    """
    width, height = field.size_wh
    read_xyxy = (0, 0, width, height)
    if method == "robust":
        levels = measure_field_levels(field, channel) if levels is None else levels
        read_xyxy = _with_halo(region_xyxy, field.size_wh)
    image = field.read([channel], read_xyxy)[0]
    labels = segment_nuclei(image, method, levels=levels, origin_xy=read_xyxy[:2])
    return list(label_outlines(labels, read_xyxy[:2]))


def measure_field_levels(field: Field, channel: str) -> NucleusLevels:
    """Levels of a channel, read tile by tile."""
    width, height = field.size_wh
    levels = NucleusLevelsPass(field.size_wh, field.dtype)
    for y in range(0, height, _LEVELS_TILE_PX):
        for x in range(0, width, _LEVELS_TILE_PX):
            region = (x, y, min(x + _LEVELS_TILE_PX, width), min(y + _LEVELS_TILE_PX, height))
            levels.add(field.read([channel], region)[0], (x, y))
    return levels.result()


def _with_halo(region_xyxy: RegionXYXY, size_wh: tuple[int, int]) -> RegionXYXY:
    """A region and all that its nuclei depend on: their own whole extent and the halo around it."""
    x0, y0, x1, y1 = region_xyxy
    start = [max(value - 2 * NUCLEUS_HALO_PX, 0) // _ALIGN_PX * _ALIGN_PX for value in (x0, y0)]
    stop = [
        min(-(-(value + 2 * NUCLEUS_HALO_PX) // _ALIGN_PX) * _ALIGN_PX, length)
        for value, length in zip((x1, y1), size_wh, strict=True)
    ]
    return (start[0], start[1], stop[0], stop[1])


def _split(
    outlines: Sequence[LabelOutline], belongs: Callable[[LabelOutline], bool]
) -> tuple[list[LabelOutline], list[LabelOutline]]:
    """Those for which ``belongs`` holds, and the others."""
    chosen = [outline for outline in outlines if belongs(outline)]
    return chosen, [outline for outline in outlines if not belongs(outline)]
