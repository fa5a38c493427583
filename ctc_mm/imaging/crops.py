"""Square windows of a field, and what becomes of boxes in them (paper ssd-attention-fusion-2022, section 2.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# How many places of the grid are tried for one where all windows are accepted.
GRID_TRIES = 64
# How many random windows are tried for each one wanted.
RANDOM_TRIES = 100

Accept = Callable[[np.ndarray], bool]


@dataclass(frozen=True)
class WindowBoxes:
    """Boxes seen through one window.

    Attributes:
        whole: indices of the boxes that lie inside, int64 (N,).
        cut: indices of the boxes that the window's edge cuts, int64 (M,).
        whole_xyxy: those inside, in the window's pixels, float32 (N, 4).
        cut_xyxy: the visible part of those cut, in the window's pixels, float32 (M, 4).
    """

    whole: np.ndarray
    cut: np.ndarray
    whole_xyxy: np.ndarray
    cut_xyxy: np.ndarray


def central_area_xyxy(size_wh: tuple[int, int], side_px: int) -> tuple[int, int, int, int]:
    """Give the central square of an image, half-open pixels; a side shorter than ``side_px`` is taken whole.

    Raises:
        ValueError: a size that is not positive.
    """
    if min(*size_wh, side_px) < 1:
        raise ValueError(f"`size_wh` and `side_px` must be at least 1. Received: {size_wh}, {side_px}")
    starts = [max((length - side_px) // 2, 0) for length in size_wh]
    ends = [start + min(length, side_px) for start, length in zip(starts, size_wh, strict=True)]
    return starts[0], starts[1], ends[0], ends[1]


def count_grid_windows(area_xyxy: tuple[int, int, int, int], size_px: int) -> int:
    """Say how many windows fit into an area side by side."""
    return max((area_xyxy[2] - area_xyxy[0]) // size_px, 0) * max((area_xyxy[3] - area_xyxy[1]) // size_px, 0)


def grid_windows(
    area_xyxy: tuple[int, int, int, int], size_px: int, count: int, rng: np.random.Generator, accept: Accept
) -> np.ndarray:
    """Choose windows that do not overlap: a grid at a random place of the area.

    Of ``GRID_TRIES`` places the first with the most accepted windows is taken; of more than ``count`` accepted windows,
    ``count`` are drawn.

    Args:
        area_xyxy: half-open pixels the windows lie in.
        size_px: side of a window.
        count: most windows wanted.
        rng: source of chance.
        accept: told a window's top left corner (int64, x and y), says whether the window may be used.

    Returns:
        int64 (N, 2): x, y of the windows' top left corners, row by row; N may be 0.
    """
    x0, y0, x1, y1 = area_xyxy
    columns, rows = (x1 - x0) // size_px, (y1 - y0) // size_px
    best = np.zeros((0, 2), dtype=np.int64)
    if columns < 1 or rows < 1:
        return best
    steps = np.array([(column, row) for row in range(rows) for column in range(columns)], dtype=np.int64) * size_px
    wanted = min(count, len(steps))
    slack = np.array([x1 - x0 - columns * size_px, y1 - y0 - rows * size_px])
    for _ in range(GRID_TRIES):
        origins = np.array([x0, y0]) + rng.integers(0, slack + 1) + steps
        accepted = origins[[bool(accept(origin)) for origin in origins]]
        if len(accepted) > len(best):
            best = accepted
        if len(best) >= wanted or not slack.any():
            break
    if len(best) > wanted:
        best = best[np.sort(rng.choice(len(best), wanted, replace=False))]
    return best


def random_windows(
    area_xyxy: tuple[int, int, int, int], size_px: int, count: int, rng: np.random.Generator, accept: Accept
) -> np.ndarray:
    """Choose windows at random places, no two the same; they may overlap, so they belong into one split.

    Args:
        area_xyxy: half-open pixels the windows lie in.
        size_px: side of a window.
        count: windows wanted; fewer are given where ``RANDOM_TRIES`` tries for each do not find them.
        rng: source of chance.
        accept: told a window's top left corner (int64, x and y), says whether the window may be used.

    Returns:
        int64 (N, 2): x, y of the windows' top left corners, in the order drawn; N may be 0.
    """
    x0, y0, x1, y1 = area_xyxy
    chosen: list[np.ndarray] = []
    if x1 - x0 < size_px or y1 - y0 < size_px:
        return np.zeros((0, 2), dtype=np.int64)
    tried: set[tuple[int, int]] = set()
    for _ in range(RANDOM_TRIES * count):
        if len(chosen) == count:
            break
        origin = rng.integers((x0, y0), (x1 - size_px + 1, y1 - size_px + 1))
        place = (int(origin[0]), int(origin[1]))
        if place not in tried and accept(origin):
            chosen.append(origin)
        tried.add(place)
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def boxes_in_window(
    boxes_xyxy: np.ndarray, origin_xy: tuple[int, int] | np.ndarray, size_px: int | tuple[int, int]
) -> WindowBoxes:
    """Move boxes into a window's pixels; those its edge cuts are told apart from those inside.

    Args:
        boxes_xyxy: float (N, 4), half-open pixels of the image; N may be 0.
        origin_xy: the window's top left corner.
        size_px: the window's side, or its width and height.

    Raises:
        ValueError: ``boxes_xyxy`` is not (N, 4).
    """
    boxes_xyxy = np.asarray(boxes_xyxy, dtype=np.float32)
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise ValueError(f"`boxes_xyxy` must have shape (N, 4). Received: {boxes_xyxy.shape}")
    moved = boxes_xyxy - np.tile(np.asarray(origin_xy, dtype=np.float32), 2)
    visible = np.clip(moved, 0, np.tile(np.broadcast_to(np.float32(size_px), 2), 2))
    seen = (visible[:, 0] < visible[:, 2]) & (visible[:, 1] < visible[:, 3])
    inside = (moved == visible).all(axis=1) & seen
    cut = seen & ~inside
    return WindowBoxes(np.flatnonzero(inside), np.flatnonzero(cut), moved[inside], visible[cut])
