"""Windows of a slide to train on, placed around its cells, read one by one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

# So many places are tried for each window without a cell.
BLANK_TRIES = 50


def windows_with_cells(
    boxes_xyxy: np.ndarray, size_wh: tuple[int, int], window_px: int, seed: int, name: str
) -> tuple[list[tuple[int, int]], list[int]]:
    """Choose windows that show every cell whole, at chance places in them.

    A cell that is in no window yet gets one, laid at random among the places that show it whole: were cells always in
    the middle, a network would learn to find them there. The windows depend on the cells, the seed and the name alone.

    Args:
        boxes_xyxy: float (N, 4), px of the slide; N may be 0.
        size_wh: of the slide.
        window_px: side of a window; a side of the slide that is shorter is taken whole.
        seed: source of chance.
        name: of the slide.

    Returns:
        Top left corners, and the places of cells that are larger than a window.
    """
    rng, window = _start(size_wh, window_px, seed, name)
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    first, last = np.floor(boxes[:, :2]).astype(np.int64), np.ceil(boxes[:, 2:]).astype(np.int64)
    too_large = (last - first > window).any(axis=1)
    seen = too_large.copy()
    origins: list[tuple[int, int]] = []
    for place in range(len(boxes)):
        if seen[place]:
            continue
        low = np.maximum(last[place] - window, 0)
        high = np.minimum(first[place], np.asarray(size_wh) - window)
        origin = rng.integers(low, high + 1)
        seen |= ((first >= origin) & (last <= origin + window)).all(axis=1)
        origins.append((int(origin[0]), int(origin[1])))
    return origins, np.flatnonzero(too_large).tolist()


def windows_without_cells(
    boxes_xyxy: np.ndarray, size_wh: tuple[int, int], window_px: int, wanted: int, seed: int, name: str
) -> list[tuple[int, int]]:
    """Choose windows that no cell touches and that do not overlap; at most ``wanted``, fewer where no more are found.

    Args: as ``windows_with_cells``.
    """
    rng, window = _start(size_wh, window_px, seed, f"{name} without cells")
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    found: list[tuple[int, int]] = []
    for _ in range(wanted * BLANK_TRIES):
        if len(found) == wanted:
            break
        origin = rng.integers(0, np.asarray(size_wh) - window + 1)
        touches = (boxes[:, :2] < origin + window).all(axis=1) & (boxes[:, 2:] > origin).all(axis=1)
        apart = all((np.abs(np.array(other) - origin) >= window).any() for other in found)
        if apart and not touches.any():
            found.append((int(origin[0]), int(origin[1])))
    return found


def _start(size_wh: tuple[int, int], window_px: int, seed: int, name: str) -> tuple[np.random.Generator, np.ndarray]:
    """A source of chance of the slide's own, and the window's width and height."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())]), np.minimum(window_px, size_wh)


def usable_channels(names: Sequence[str], wanted: str | None, colours: Sequence[str]) -> tuple[str, ...] | None:
    """Channels that make one training image: the wanted, the only one, or all of a colour slide; None: undecided."""
    if wanted is not None:
        return (wanted,) if wanted in names else None
    if tuple(names) == tuple(colours) or len(names) == 1:
        return tuple(names)
    return None
