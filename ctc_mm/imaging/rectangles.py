"""What rectangles cover, and what they leave free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RectangleXYXY = tuple[int, int, int, int]


def uncovered_xyxy(size_wh: tuple[int, int], rectangles_xyxy: Sequence[RectangleXYXY]) -> tuple[RectangleXYXY, ...]:
    """Find the parts of an area that no rectangle covers.

    Args:
        size_wh: width and height of the area in pixels.
        rectangles_xyxy: half-open pixels, inside the area; they may lie over each other.

    Returns:
        Half-open rectangles of which none lies over another, by row and column.
    """
    width, height = size_wh
    boxes = np.asarray(rectangles_xyxy, np.int64).reshape(-1, 4)
    edges = np.unique([0, height, *boxes[:, 1], *boxes[:, 3]])
    free: list[RectangleXYXY] = []
    begun: dict[tuple[int, int], int] = {}  # columns that are free up to the row above -> row where they began
    for top, bottom in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        across = boxes[(boxes[:, 1] <= top) & (boxes[:, 3] >= bottom)]
        spans = set(_free_spans(width, across[:, [0, 2]]))
        free += [(x0, start, x1, top) for (x0, x1), start in begun.items() if (x0, x1) not in spans]
        begun = {span: begun.get(span, top) for span in spans}
    free += [(x0, start, x1, height) for (x0, x1), start in begun.items()]
    return tuple(sorted(free, key=lambda box: (box[1], box[0])))


def covered_px(rectangles_xyxy: Sequence[Sequence[int]]) -> int:
    """Count the pixels that at least one of some rectangles covers.

    Args:
        rectangles_xyxy: half-open pixels; they may lie over each other.
    """
    if not rectangles_xyxy:
        return 0
    boxes = np.array(rectangles_xyxy, np.int64)
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for x0, y0, x1, y1 in boxes:
        rows, columns = np.searchsorted(ys, (y0, y1)), np.searchsorted(xs, (x0, x1))
        covered[rows[0] : rows[1], columns[0] : columns[1]] = True
    return int((np.diff(ys)[:, None] * np.diff(xs)[None])[covered].sum())


def _free_spans(width: int, covered: np.ndarray) -> list[tuple[int, int]]:
    spans, reached = [], 0
    for x0, x1 in sorted(covered.tolist()):
        if x0 > reached:
            spans.append((reached, x0))
        reached = max(reached, x1)
    return [*spans, (reached, width)] if reached < width else spans
