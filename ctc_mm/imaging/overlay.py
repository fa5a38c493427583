"""What was found, drawn over an image: outlines of labels and rings around spots, exact to the pixel.

An outline is the innermost row of an object's own pixels, so touching objects keep two lines, and nothing is drawn on
the background. Objects are told apart by colour and by the line's pattern, for readers who do not see all colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from ctc_mm.imaging.display import RGB
from ctc_mm.imaging.field import RegionXYXY

# Where no zoom is given, pictures are enlarged until the shorter side has so many pixels, and reduced until the longer
# one has no more than so many.
LEAST_SIDE_PX = 900
MOST_SIDE_PX = 4000
_MOST_ZOOM = 12
# Positions handed to OpenCV carry this many binary digits after the point.
_SHIFT = 4


@dataclass(frozen=True)
class LineStyle:
    """How a line looks.

    Attributes:
        colour_rgb: 0 to 255.
        dash_px: pixels drawn and left out in turn, for a line 1 px wide; None: a solid line.
        width_px: of the line in the picture.
    """

    colour_rgb: RGB
    dash_px: tuple[int, int] | None = None
    width_px: int = 1


@dataclass(frozen=True)
class View:
    """The part of a field that a picture shows, and how large.

    Attributes:
        region_xyxy: half-open pixels of the field.
        zoom: picture pixels per field pixel: a whole number, or one over a whole number.

    Raises:
        ValueError: an empty region, another zoom.
    """

    region_xyxy: RegionXYXY
    zoom: float

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.region_xyxy
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f"`region_xyxy` must be x0,y0,x1,y1 with an area. Received: {self.region_xyxy}")
        check_zoom(self.zoom)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture in its own pixels."""
        x0, y0, x1, y1 = self.region_xyxy
        return max(1, round((x1 - x0) * self.zoom)), max(1, round((y1 - y0) * self.zoom))

    @property
    def line_px(self) -> int:
        """Width of a thin line: 1 px, 2 where a field's pixel is drawn by 4 x 4 and more."""
        return 2 if self.zoom >= 4 else 1

    def enlarge(self, region_image: np.ndarray) -> np.ndarray:
        """Bring pixels of the region, (h, w) or (h, w, 3) uint8, to the size of the picture."""
        if self.zoom == 1:
            return region_image.copy()
        method = cv2.INTER_NEAREST if self.zoom > 1 else cv2.INTER_AREA
        return cv2.resize(region_image, self.size_wh, interpolation=method)

    def to_picture(self, points_yx: np.ndarray) -> np.ndarray:
        """Field coordinates (N, 2) as picture coordinates, float64; a pixel's middle is its index in both."""
        x0, y0, _, _ = self.region_xyxy
        return (np.asarray(points_yx, np.float64).reshape(-1, 2) - (y0, x0) + 0.5) * self.zoom - 0.5


def check_zoom(zoom: float) -> float:
    """Give back a zoom that is a whole number or one over a whole number.

    Raises:
        ValueError: it is neither.
    """
    for factor in (zoom, 1 / zoom) if zoom > 0 else ():
        if 1 <= factor <= 64 and abs(factor - round(factor)) < 1e-6:
            return zoom
    raise ValueError(f"zoom must be a whole number up to 64, or one over it (0.5, 0.25). Received: {zoom}")


def parse_zoom(text: str) -> float:
    """Read a zoom as written on a command line.

    Raises:
        ValueError: no number, or one that is no zoom.
    """
    return check_zoom(float(text))


def parse_region(text: str) -> RegionXYXY:
    """Read a region as written on a command line: ``X0,Y0,X1,Y1``, half-open pixels.

    Raises:
        ValueError: not four whole numbers, or no area.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"must be four whole numbers X0,Y0,X1,Y1. Received: {text!r}")
    x0, y0, x1, y1 = map(int, parts)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"must have an area: X0 < X1 and Y0 < Y1. Received: {text!r}")
    return x0, y0, x1, y1


def choose_zoom(region_xyxy: RegionXYXY) -> float:
    """Choose a zoom that makes small images large enough to see, and large ones small enough to open."""
    width, height = region_xyxy[2] - region_xyxy[0], region_xyxy[3] - region_xyxy[1]
    if max(width, height) > MOST_SIDE_PX:
        return 1 / -(-max(width, height) // MOST_SIDE_PX)
    return max(1, min(-(-LEAST_SIDE_PX // min(width, height)), MOST_SIDE_PX // max(width, height), _MOST_ZOOM))


@dataclass(frozen=True)
class LabelOutline:
    """One object of a label image.

    Attributes:
        label: its number.
        mask: bool (h, w), the object within its box.
        corner_xy: where the mask's first pixel lies in the field.
    """

    label: int
    mask: np.ndarray
    corner_xy: tuple[int, int]

    @property
    def box_xyxy(self) -> RegionXYXY:
        """Half-open pixels of the field."""
        (x0, y0), (height, width) = self.corner_xy, self.mask.shape
        return x0, y0, x0 + width, y0 + height

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())

    @property
    def diameter_px(self) -> float:
        """Diameter of the disc of the same area."""
        return float(2 * np.sqrt(self.area_px / np.pi))

    def is_cut(self, size_wh: tuple[int, int]) -> bool:
        """Whether it reaches the edge of a field of this size, so that a part of it may lie outside."""
        x0, y0, x1, y1 = self.box_xyxy
        return x0 == 0 or y0 == 0 or x1 == size_wh[0] or y1 == size_wh[1]

    def is_in(self, region_xyxy: RegionXYXY) -> bool:
        """Whether a pixel of it lies in a region."""
        (left, top), (x0, y0, x1, y1) = self.corner_xy, region_xyxy
        return bool(self.mask[max(y0 - top, 0) : max(y1 - top, 0), max(x0 - left, 0) : max(x1 - left, 0)].any())


def label_outlines(labels: np.ndarray, origin_xy: tuple[int, int] = (0, 0)) -> Iterator[LabelOutline]:
    """Go through the objects of a label image.

    Args:
        labels: int (H, W), 0 background.
        origin_xy: where the label image's first pixel lies in the field.

    Yields:
        The objects in the order of their labels.
    """
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        rows, columns = box
        yield LabelOutline(label, labels[box] == label, (origin_xy[0] + columns.start, origin_xy[1] + rows.start))


def draw_outline(canvas: np.ndarray, outline: LabelOutline, view: View, style: LineStyle) -> None:
    """Draw the outline of one object in place.

    Args:
        canvas: uint8 (H, W, 3), of the size of ``view``.
        outline: the object.
        view: what the canvas shows.
        style: of the line.
    """
    line, (left, top) = _line_of(outline, view, style)
    height, width = canvas.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + line.shape[1], width), min(top + line.shape[0], height)
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1][line[y0 - top : y1 - top, x0 - left : x1 - left]] = style.colour_rgb


def _line_of(outline: LabelOutline, view: View, style: LineStyle) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels of the line, bool, and where their corner lies in the picture."""
    x0, y0, _, _ = view.region_xyxy
    offset_x, offset_y = outline.corner_xy[0] - x0, outline.corner_xy[1] - y0
    solid = outline.mask.astype(np.uint8)
    if view.zoom >= 1:
        zoom = round(view.zoom)
        solid = np.repeat(np.repeat(solid, zoom, axis=0), zoom, axis=1)
        chains = _chains(solid)
        left, top = offset_x * zoom, offset_y * zoom
    else:
        # Several field pixels are one of the picture: every pixel that the outline passes is drawn, however small.
        places = [((chain + (offset_x, offset_y)) * view.zoom).astype(np.int64) for chain in _chains(solid)]
        left, top = (int(value) for value in np.min([chain.min(axis=0) for chain in places], axis=0))
        chains = [_without_repeats(chain - (left, top)) for chain in places]
        size_xy = np.max([chain.max(axis=0) for chain in chains], axis=0) + 1
        solid = np.ones((size_xy[1], size_xy[0]), np.uint8)
    line = np.zeros(solid.shape, np.uint8)
    for chain in chains:
        kept = chain[_drawn(len(chain), style)]
        line[kept[:, 1], kept[:, 0]] = 1
    if style.width_px > 1:
        side = 2 * style.width_px - 1
        line = cv2.dilate(line, np.ones((side, side), np.uint8)) & solid
    return line.astype(bool), (left, top)


def _chains(solid: np.ndarray) -> list[np.ndarray]:
    """Outer borders of a mask as closed chains of neighbouring pixels, int (N, 2) x, y."""
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [contour[:, 0, :] for contour in contours]


def _without_repeats(chain: np.ndarray) -> np.ndarray:
    keep = np.ones(len(chain), bool)
    keep[1:] = (np.diff(chain, axis=0) != 0).any(axis=1)
    return chain[keep]


def _drawn(length: int, style: LineStyle) -> np.ndarray:
    """Which pixels of a closed chain are drawn; a whole number of dashes fits it, at least two."""
    if style.dash_px is None:
        return np.ones(length, bool)
    drawn, gap = (part * style.width_px for part in style.dash_px)
    dashes = max(2, round(length / (drawn + gap)))
    return (np.arange(length) * dashes / length) % 1 < drawn / (drawn + gap)


def draw_rings(canvas: np.ndarray, spots_yx: np.ndarray, view: View, radius_px: float, style: LineStyle) -> None:
    """Draw a ring around each spot in place.

    Args:
        canvas: uint8 (H, W, 3), of the size of ``view``.
        spots_yx: (N, 2) field coordinates, sub-pixel.
        view: what the canvas shows.
        radius_px: of a ring, in field pixels; in the picture at least 3.
        style: of the line; rings are always solid.
    """
    radius = round(max(3.0, radius_px * view.zoom) * 2**_SHIFT)
    for y, x in np.rint(view.to_picture(spots_yx) * 2**_SHIFT).astype(int).tolist():
        cv2.circle(canvas, (x, y), radius, style.colour_rgb, style.width_px, cv2.LINE_AA, _SHIFT)
