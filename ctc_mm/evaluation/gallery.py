"""The cells that a classifier got wrong, worst first: to look at, not to count."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.evaluation.predictions import Predictions
from ctc_mm.evaluation.thumbnails import cell_thumbnail
from ctc_mm.imaging.text import Text, draw_texts, text_width

TILE_PX = 96
_COLUMNS_PX = 1000
_GAP_PX = 10
_INK, _PALE, _PAPER, _MISSING = (30, 30, 30), (110, 110, 110), (255, 255, 255), (200, 200, 200)
NOTE = "Each channel is stretched to its own grey values: compare shapes, not brightness."


@dataclass(frozen=True, eq=False)
class MisjudgedCell:
    """One cell called wrong.

    Args:
        index: place in the predictions.
        thumbnail: uint8 (TILE_PX, channels * TILE_PX, 3); a grey square where the image cannot be read.
        problem: why it cannot be read, or ''.
    """

    index: int
    thumbnail: np.ndarray
    problem: str = ""


@dataclass(frozen=True, eq=False)
class MisjudgedGroup:
    """Wrong calls of one kind, worst first.

    Args:
        title: what they are.
        cells: those that are drawn.
        total: all of them.
    """

    title: str
    cells: tuple[MisjudgedCell, ...]
    total: int

    @property
    def heading(self) -> str:
        """Title, number, and how many are not drawn."""
        more = self.total - len(self.cells)
        return f"{self.title}: {self.total}" + (f" (the {len(self.cells)} worst drawn, {more} more)" if more else "")


def find_misjudged(
    predictions: Predictions, target: str, rest: str, limit: int, threshold: float = 0.5
) -> tuple[MisjudgedGroup, MisjudgedGroup]:
    """Collect false positives and false negatives, each by how wrong their score is, and read their images.

    Args:
        predictions: of a set.
        target: name of the class looked for.
        rest: name of the others.
        limit: at most so many of each kind are drawn.
        threshold: a cell is called target if its score is >= this.

    Returns:
        False positives and false negatives.
    """
    called, truth = predictions.score >= threshold, predictions.gt == 1
    order = np.lexsort((predictions.path, predictions.channel, predictions.cell_id, -predictions.logit))
    false_positives = [index for index in order.tolist() if called[index] and not truth[index]]
    order = np.lexsort((predictions.path, predictions.channel, predictions.cell_id, predictions.logit))
    false_negatives = [index for index in order.tolist() if truth[index] and not called[index]]
    return (
        _group(predictions, f"{rest} called {target} (false positives)", false_positives, limit),
        _group(predictions, f"{target} called {rest} (false negatives)", false_negatives, limit),
    )


def _group(predictions: Predictions, title: str, indices: Sequence[int], limit: int) -> MisjudgedGroup:
    return MisjudgedGroup(title, tuple(_cell(predictions, index) for index in indices[:limit]), len(indices))


def _cell(predictions: Predictions, index: int) -> MisjudgedCell:
    missing = np.full((TILE_PX, TILE_PX, 3), _MISSING, np.uint8)
    path = str(predictions.path[index])
    if not path:
        return MisjudgedCell(index, missing, "no image file is known")
    try:
        return MisjudgedCell(index, cell_thumbnail(path, str(predictions.channel[index]), TILE_PX))
    except (ImageReadError, OSError) as error:
        return MisjudgedCell(index, missing, str(error))


def unreadable(groups: Sequence[MisjudgedGroup]) -> list[str]:
    """Say which images of the gallery could not be read, and why."""
    return [cell.problem for group in groups for cell in group.cells if cell.problem]


def note_on(predictions: Predictions) -> str:
    """What to know before looking at the pictures."""
    channels = np.unique(predictions.channel).tolist()
    if len(channels) == 1 and "+" in channels[0]:
        return f"{NOTE} From left to right: {', '.join(channels[0].split('+'))}."
    return NOTE


def draw_misjudged(predictions: Predictions, groups: Sequence[MisjudgedGroup], title: str) -> bytes:
    """Draw the gallery as PNG: thumbnail, score and name of each cell."""
    tile_px = max((cell.thumbnail.shape[1] for group in groups for cell in group.cells), default=TILE_PX)
    columns = max(1, _COLUMNS_PX // (tile_px + _GAP_PX))
    row_px = TILE_PX + 40
    heights = [34 + (math.ceil(len(group.cells) / columns) * row_px or 30) for group in groups]
    width = max(columns * (tile_px + _GAP_PX) + _GAP_PX, 640)
    canvas = np.full((58 + sum(heights), width, 3), _PAPER, np.uint8)
    texts = [Text(title, (_GAP_PX, 10), 17, _INK), Text(note_on(predictions), (_GAP_PX, 34), 12, _PALE)]
    top = 58
    for group, height in zip(groups, heights, strict=True):
        texts.append(Text(group.heading, (_GAP_PX, top + 8), 15, _INK))
        if not group.cells:
            texts.append(Text("none", (_GAP_PX, top + 40), 13, _PALE))
        for place, cell in enumerate(group.cells):
            x = _GAP_PX + place % columns * (tile_px + _GAP_PX)
            y = top + 34 + place // columns * row_px
            canvas[y : y + TILE_PX, x : x + cell.thumbnail.shape[1]] = cell.thumbnail
            texts += _tile_texts(predictions, cell, (x, y), tile_px)
        top += height
    draw_texts(canvas, texts)
    return _png(canvas)


def _tile_texts(predictions: Predictions, cell: MisjudgedCell, xy: tuple[int, int], tile_px: int) -> list[Text]:
    x, y = xy
    name = _shortened(str(predictions.cell_id[cell.index]), 11, tile_px)
    texts = [
        Text(f"score {predictions.score[cell.index]:.3f}", (x, y + TILE_PX + 3), 12, _INK),
        Text(name, (x, y + TILE_PX + 19), 11, _PALE),
    ]
    if cell.problem:
        texts.append(Text("unreadable", (x + TILE_PX / 2, y + TILE_PX / 2), 12, _INK, anchor="middle-middle"))
    return texts


def _shortened(words: str, size_px: int, width_px: int) -> str:
    """Cut a name in front, where names of one set are alike."""
    while text_width(words, size_px) > width_px and len(words) > 2:
        words = f"…{words.removeprefix('…')[1:]}"
    return words


def _png(image_rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def misjudged_html(predictions: Predictions, groups: Sequence[MisjudgedGroup], title: str) -> str:
    """Write the gallery as one HTML file that opens without a network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ctc_mm.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    sections = [
        {"heading": group.heading, "cells": [_html_cell(predictions, cell) for cell in group.cells]} for group in groups
    ]
    return environment.get_template("misjudged.html.j2").render(
        title=title, note=note_on(predictions), sections=sections
    )


def _html_cell(predictions: Predictions, cell: MisjudgedCell) -> dict[str, object]:
    index = cell.index
    calibrated = float(predictions.calibrated[index])
    return {
        "picture": base64.b64encode(_png(cell.thumbnail)).decode("ascii"),
        "problem": cell.problem,
        "score": f"{predictions.score[index]:.4f}",
        "calibrated": "" if math.isnan(calibrated) else f"{calibrated:.4f}",
        "facts": [(name, value) for name, value in _facts(predictions, index) if value],
    }


def _facts(predictions: Predictions, index: int) -> list[tuple[str, str]]:
    box = predictions.box_xyxy[index]
    diameters = ((predictions.diameter_um[index], "µm"), (predictions.diameter_px[index], "px"))
    return [
        ("true label", str(predictions.label[index])),
        ("cell", str(predictions.cell_id[index])),
        ("channel", str(predictions.channel[index])),
        ("group", str(predictions.group[index])),
        ("file", str(predictions.path[index])),
        ("source", str(predictions.source[index])),
        ("x0, y0, x1, y1", "" if np.isnan(box).any() else ", ".join(f"{value:g}" for value in box.tolist())),
        ("diameter", ", ".join(f"{value:.1f} {unit}" for value, unit in diameters if not math.isnan(value))),
    ]
