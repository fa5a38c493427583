"""What parts of a slide that could not be read cost: pixels that were not looked at, and cells that lie beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ctc_mm.counting.records import GAP, Drop, SlideSpec, as_json
from ctc_mm.counting.slides import MOST_REGIONS, OpenSlides, drops_of
from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.damage import BLOCK_PX, DamageTolerantField
from ctc_mm.imaging.rectangles import covered_px

T = TypeVar("T")

TOUCHES_LOSS = "cell on or beside a part of the slide that was not imaged or could not be read"
BETWEEN_FIELDS = "gap between the fields of a mosaic, not imaged: no part of what is counted"
# Blocks in which the background is looked for.
SAMPLED_BLOCKS = 64


def look_until_known(field: DamageTolerantField, look: Callable[[], T]) -> T:
    """Look over a slide, and once more where parts turn out to be damaged, which are then filled with background.

    A block is lost for all channels, and those read first did not know; and a hole is no part of a channel's levels.

    Args:
        field: the slide.
        look: reads all of it.

    Returns:
        What ``look`` gave when it knew all that is lost.
    """
    known = None
    while known != field.damaged_xyxy:
        known = field.damaged_xyxy
        if known:
            field.fill_value = _usual_values(field)
        found = look()
    return found


def losses_of(field: DamageTolerantField) -> dict[str, Any]:
    """What is not there to be seen in a slide that was looked over, as JSON values.

    Returns:
        ``damaged_xyxy`` and ``gaps_xyxy``, lists of half-open boxes; ``fill_value``, what damage is filled with; and
        ``drops``, a record for each kind.
    """
    gaps = [list(gap) for gap in field.gaps_xyxy]
    drops = list(drops_of(field))
    if gaps:
        drops.append(Drop(GAP, BETWEEN_FIELDS, len(gaps), covered_px(gaps), tuple(map(tuple, gaps[:MOST_REGIONS]))))
    return {
        "damaged_xyxy": [list(block) for block in field.damaged_xyxy],
        "gaps_xyxy": gaps,
        "fill_value": field.fill_value,
        "drops": [as_json(drop) for drop in drops],
    }


@contextmanager
def use_as_known(
    slides: OpenSlides, spec: SlideSpec, losses: Mapping[str, Any], target_um_per_px: float | None = None
) -> Iterator[DamageTolerantField]:
    """Lend a slide that was looked over, with what is lost of it filled as it was then.

    Raises:
        ImageReadError: on return, if something was lost that could be read at first: a disk or network that gives out.
    """
    with slides.use(spec, target_um_per_px, losses["damaged_xyxy"]) as field:
        field.fill_value = losses["fill_value"]
        yield field
        known = {tuple(block) for block in losses["damaged_xyxy"]}
        more = [block for block in field.damaged_xyxy if block not in known]
    if more:
        raise ImageReadError(
            f"{spec.name}: {len(more)} blocks, the first at {more[0]}, could be read when the slide was looked over "
            "and not later; check the disk or the network, and run again"
        )


def drops_from(losses: Mapping[str, Any]) -> tuple[Drop, ...]:
    """The records of what ``losses_of`` found."""
    return tuple(
        Drop(**{**one, "regions_xyxy": tuple(tuple(region) for region in one["regions_xyxy"])})
        for one in losses["drops"]
    )


def without_lost(
    cells: Iterable[T], box_of: Callable[[T], Sequence[float]], losses: Mapping[str, Any], margin_px: float
) -> tuple[list[T], tuple[Drop, ...]]:
    """Leave out the cells whose surroundings reach into a part of the slide that was not seen.

    Args:
        cells: whatever has a box.
        box_of: gives its half-open box in pixels of the slide.
        losses: of ``losses_of``.
        margin_px: how far around a cell pixels decide about it.

    Returns:
        The others in their order, and a drop that counts those left out.
    """
    cells, regions = list(cells), [*losses["damaged_xyxy"], *losses["gaps_xyxy"]]
    if not regions or not cells:
        return cells, ()
    boxes = np.array([box_of(cell) for cell in cells], np.float64)
    hit = np.zeros(len(cells), bool)
    for x0, y0, x1, y1 in regions:
        across = (boxes[:, 0] - margin_px < x1) & (boxes[:, 2] + margin_px > x0)
        hit |= across & (boxes[:, 1] - margin_px < y1) & (boxes[:, 3] + margin_px > y0)
    kept = [cell for cell, is_hit in zip(cells, hit, strict=True) if not is_hit]
    return kept, (Drop("cell", TOUCHES_LOSS, int(hit.sum())),) if hit.any() else ()


def _usual_values(field: DamageTolerantField) -> dict[str, float]:
    """Median of each channel where the slide can be read, from blocks spread over it."""
    known, (width, height) = set(field.damaged_xyxy), field.size_wh
    whole = [
        block
        for y in range(0, height, BLOCK_PX)
        for x in range(0, width, BLOCK_PX)
        if (block := (x, y, min(x + BLOCK_PX, width), min(y + BLOCK_PX, height))) not in known
    ]
    if not whole:
        return dict.fromkeys(field.channels, 0.0)
    step = -(-len(whole) // SAMPLED_BLOCKS)
    values = np.concatenate(
        [field.read(region_xyxy=block)[:, ::4, ::4].reshape(len(field.channels), -1) for block in whole[::step]], axis=1
    )
    # One of the values, not the mean of two: it is of the channel's type.
    middles = np.percentile(values, 50, axis=1, method="lower")
    return {name: float(value) for name, value in zip(field.channels, middles, strict=True)}
