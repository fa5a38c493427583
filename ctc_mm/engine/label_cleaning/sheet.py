"""A picture of the cells that no label marks, to look at before they are believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.engine.label_cleaning.finds import Find
from ctc_mm.engine.label_cleaning.problems import boxes_by_image, boxes_xyxy
from ctc_mm.engine.label_cleaning.run import CleaningReport
from ctc_mm.explain.draw import to_display
from ctc_mm.formats.fields import load_json_object
from ctc_mm.imaging.io import read_image, write_png
from ctc_mm.imaging.text import Text, draw_texts

TILE_PX, GAP_PX, COLUMNS, HEAD_PX, WORDS_PX = 150, 10, 8, 56, 34
MOST_TILES = 64
LETTERS = 22  # of a name fit under a tile
CONTEXT = 2.0  # side of the cut in sides of the cell
FIND_RGB, LABEL_RGB = (230, 30, 30), (0, 140, 60)
INK, PALE, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)


def write_sheet(path: str | Path, report: CleaningReport) -> Path:
    """Draw finds with what is around them: red the find, green the labels.

    At most 64, spread evenly over all finds from the surest to the least sure, so that the sheet shows where the finds
    stop to be right.

    Args:
        path: PNG file.
        report: of :func:`ctc_mm.engine.label_cleaning.run.clean_labels`.

    Returns:
        The path.

    Raises:
        ImageReadError: an image cannot be read.
    """
    by_score = sorted(report.finds, key=lambda find: (-find.score, find.file_name, find.box_xyxy))
    places = np.unique(np.linspace(0, len(by_score) - 1, min(MOST_TILES, len(by_score))).round().astype(int))
    shown = [by_score[place] for place in places]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    width = COLUMNS * (TILE_PX + GAP_PX) + GAP_PX
    canvas = np.full((HEAD_PX + rows * (TILE_PX + WORDS_PX), width, 3), PAPER, np.uint8)
    title = f"{len(by_score)} cells that no label marks, {len(shown)} shown from the surest to the least sure"
    texts = [
        Text(title, (GAP_PX, 10), 17, INK),
        Text("red: found by the models; green: labelled", (GAP_PX, 34), 12, PALE),
    ]
    labelled = _labels(report.labels)
    for place, find in enumerate(shown):
        x = GAP_PX + place % COLUMNS * (TILE_PX + GAP_PX)
        y = HEAD_PX + place // COLUMNS * (TILE_PX + WORDS_PX)
        canvas[y : y + TILE_PX, x : x + TILE_PX] = _tile(find, report.images_dir, labelled[find.file_name])
        words = f"{find.class_name} {find.score:.2f}, {find.models} of {find.judges}"
        name = Path(find.file_name).stem[-LETTERS:]
        texts += [Text(words, (x, y + TILE_PX + 2), 12, INK), Text(name, (x, y + TILE_PX + 17), 11, PALE)]
    draw_texts(canvas, texts)
    write_png(path, canvas)
    return Path(path)


def _labels(path: Path) -> dict[str, np.ndarray]:
    content = load_json_object(path).value
    of_image = boxes_by_image(content)
    return {image["file_name"]: boxes_xyxy(of_image[image["id"]]) for image in content["images"]}


def _tile(find: Find, images_dir: Path, labels_xyxy: np.ndarray) -> np.ndarray:
    """The find in the middle of a square cut, what lies beyond the image in grey."""
    image = to_display(read_image(images_dir / find.file_name))
    x0, y0, x1, y1 = find.box_xyxy
    side = max(8.0, CONTEXT * max(x1 - x0, y1 - y0))
    scale, corner = TILE_PX / side, np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2])
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    tile = cv2.warpAffine(image, matrix, (TILE_PX, TILE_PX), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))
    for boxes, colour in ((labels_xyxy, LABEL_RGB), (np.array([find.box_xyxy]), FIND_RGB)):
        _draw(tile, (boxes.reshape(-1, 2, 2) - corner) * scale, colour)
    return tile


def _draw(tile: np.ndarray, corners: np.ndarray, colour: Sequence[int]) -> None:
    for (x0, y0), (x1, y1) in np.rint(corners).astype(int).tolist():
        cv2.rectangle(tile, (x0, y0), (x1 - 1, y1 - 1), colour, 2)
