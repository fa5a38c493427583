"""What damaged parts of a slide cost: pixels that were not looked at, and cells that lie on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ctc_mm.counting.records import AnalysedArea, Drop
from ctc_mm.errors import ImageReadError

T = TypeVar("T")
Block = tuple[int, int, int, int]

TOUCHES_DAMAGE = "cell on or beside a part of the slide that could not be read"
# Regions that a drop lists.
MOST_LISTED = 100


def drop_blocks(blocks: Sequence[Block], reason: str) -> tuple[Drop, ...]:
    """One drop for all blocks that could not be read; none where all could."""
    if not blocks:
        return ()
    return (Drop("block", reason, len(blocks), _area_px(blocks), tuple(map(tuple, blocks[:MOST_LISTED]))),)


def area_without(size_wh: tuple[int, int], blocks: Sequence[Block]) -> AnalysedArea:
    """The slide's area; blocks lie on one grid, so none covers another."""
    lost = _area_px(blocks)
    return AnalysedArea(size_wh[0] * size_wh[1] - lost, dropped_px=lost)


def without_damaged(
    cells: Iterable[T], box_of: Callable[[T], Sequence[float]], blocks: Sequence[Block], margin_px: float
) -> tuple[list[T], tuple[Drop, ...]]:
    """Leave out the cells whose surroundings reach into a block that could not be read.

    Args:
        cells: whatever has a box.
        box_of: gives its half-open box in pixels of the slide.
        blocks: half-open boxes.
        margin_px: how far around a cell pixels decide about it.

    Returns:
        The others in their order, and a drop that counts those left out.
    """
    cells = list(cells)
    if not blocks or not cells:
        return cells, ()
    boxes = np.array([box_of(cell) for cell in cells], np.float64)
    hit = np.zeros(len(cells), bool)
    for x0, y0, x1, y1 in blocks:
        across = (boxes[:, 0] - margin_px < x1) & (boxes[:, 2] + margin_px > x0)
        hit |= across & (boxes[:, 1] - margin_px < y1) & (boxes[:, 3] + margin_px > y0)
    kept = [cell for cell, is_hit in zip(cells, hit, strict=True) if not is_hit]
    return kept, (Drop("cell", TOUCHES_DAMAGE, int(hit.sum())),) if hit.any() else ()


def check_no_more_damage(name: str, known: Iterable[Sequence[int]], found: Iterable[Sequence[int]]) -> None:
    """Refuse to go on where pixels cannot be read that could be when the slide was looked over.

    Raises:
        ImageReadError: a disk or network that gives out.
    """
    more = sorted({tuple(block) for block in found} - {tuple(block) for block in known})
    if more:
        raise ImageReadError(
            f"{name}: {len(more)} blocks, the first at {more[0]}, could be read when the slide was looked over and not "
            "later; check the disk or the network, and run again"
        )


def _area_px(blocks: Sequence[Block]) -> int:
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in blocks)
