"""Grad-CAM pictures of single cells: the cell beside its map, both enlarged, and sheets of many cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.explain.classifier_cam import ClassificationCAM
from ctc_mm.explain.draw import FONT, PANEL_SIDE_PX, blend_heat, resize_picture, to_display

WRONG_COLOR_RGB = (200, 0, 0)
HEADER_PX, GAP_PX = 26, 6
SHEET_COLUMNS, SHEET_ROWS = 6, 10
# Of a tile: the two pictures side by side, and two lines of text above them.
TILE_WH, TILE_TEXT_PX = (204, 100), 34


@dataclass(frozen=True)
class SheetTile:
    """One cell of a sheet: its picture as :func:`draw_cell` gives it, and two lines of text."""

    picture: np.ndarray
    title: str
    name: str
    wrong: bool


def name_of(label: int, class_names: Sequence[str]) -> str:
    """Name of a label, or its number where it has none."""
    return class_names[label] if label < len(class_names) else f"class {label}"


def describe_cell(result: ClassificationCAM, class_names: Sequence[str], truth: int | None = None) -> str:
    """What the cell is called, with the score of that class, and what it is where that is known and another."""
    text = f"{name_of(result.predicted, class_names)} {result.scores[result.predicted]:.2f}"
    return text if truth in (None, result.predicted) else f"{text} (is {name_of(truth, class_names)})"


def draw_cell(result: ClassificationCAM, class_names: Sequence[str], truth: int | None = None) -> np.ndarray:
    """The cell as the network saw it, and the same under its map; titles in red where the class is wrong.

    Args:
        result: what :func:`ctc_mm.explain.classifier_cam.explain_classification` gave.
        class_names: name of each label.
        truth: the true label, where it is known.

    Returns:
        uint8 (H', W', 3) RGB; the short side of either picture is 300 px.
    """
    scale = PANEL_SIDE_PX / min(result.image.shape[:2])
    cell = resize_picture(to_display(result.image), scale)
    overlay = blend_heat(cell, np.clip(resize_picture(result.cam, scale), 0, 1))
    color = WRONG_COLOR_RGB if truth not in (None, result.predicted) else (0, 0, 0)
    titles = (
        describe_cell(result, class_names, truth),
        f"{name_of(result.explained, class_names)}: {result.layer}, {result.raw.shape[1]}x{result.raw.shape[0]}",
    )
    panels = [_titled(picture, title, color) for picture, title in zip((cell, overlay), titles, strict=True)]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=1)


def draw_sheet(tiles: Sequence[SheetTile], title: str) -> np.ndarray:
    """Cells in rows of six, each with its text, red and framed where wrong.

    Args:
        tiles: at most ``SHEET_COLUMNS * SHEET_ROWS`` of them, in reading order.
        title: of the page.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    blank = np.full((TILE_WH[1] + TILE_TEXT_PX, TILE_WH[0], 3), 255, np.uint8)
    drawn = [_draw_tile(tile) for tile in tiles]
    drawn += [blank] * (-len(drawn) % SHEET_COLUMNS)
    spaced = [np.pad(tile, ((0, GAP_PX), (GAP_PX // 2, GAP_PX // 2), (0, 0)), constant_values=255) for tile in drawn]
    rows = [np.hstack(spaced[first : first + SHEET_COLUMNS]) for first in range(0, len(spaced), SHEET_COLUMNS)]
    header = np.full((HEADER_PX, spaced[0].shape[1] * SHEET_COLUMNS, 3), 255, np.uint8)
    _write(header, title, (4, 18), 0.5, (0, 0, 0))
    return np.vstack([header, *rows])


def _draw_tile(tile: SheetTile) -> np.ndarray:
    width, height = TILE_WH
    pictures = tile.picture[HEADER_PX:]
    scale = min(width / pictures.shape[1], height / pictures.shape[0])
    small = resize_picture(pictures, scale)[:height, :width]
    canvas = np.full((height + TILE_TEXT_PX, width, 3), 255, np.uint8)
    color = WRONG_COLOR_RGB if tile.wrong else (0, 0, 0)
    _write(canvas, tile.title, (2, 13), 0.42, color)
    _write(canvas, tile.name, (2, 28), 0.36, (90, 90, 90))
    left = (width - small.shape[1]) // 2
    canvas[TILE_TEXT_PX : TILE_TEXT_PX + small.shape[0], left : left + small.shape[1]] = small
    if tile.wrong:
        cv2.rectangle(canvas, (0, TILE_TEXT_PX), (width - 1, height + TILE_TEXT_PX - 1), color, 2)
    return canvas


def _titled(picture: np.ndarray, title: str, color: tuple[int, int, int]) -> np.ndarray:
    header = np.full((HEADER_PX, picture.shape[1], 3), 255, np.uint8)
    _write(header, title, (4, 18), 0.5, color)
    return np.concatenate([header, picture])


def _write(canvas: np.ndarray, text: str, place_xy: tuple[int, int], size: float, color: tuple[int, int, int]) -> None:
    """One line of text, made smaller where it would leave the canvas."""
    (width, _), _ = cv2.getTextSize(text, FONT, size, 1)
    fitting = size * min(1.0, (canvas.shape[1] - 2 * place_xy[0]) / max(width, 1))
    cv2.putText(canvas, text, place_xy, FONT, fitting, color, 1, cv2.LINE_AA)
