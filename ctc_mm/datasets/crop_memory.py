"""What a classifier has to remember of how its cells were cut, so that a slide's are cut alike.

The converters write it beside each cell: ``crop_px`` (side), ``crop_margin`` (where the side follows the box) and
``crop_normalized`` (against what no cell covers, ``cells``; the crop's ``border``; or ``no``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctc_mm.datasets.cell_records import CellRecord

CROP_KEY = "crop"
# Sides in micrometres that agree to this part are one.
TOLERANCE = 0.02


def describe_crops(records: Sequence[CellRecord]) -> dict[str, Any]:
    """Say how the cells of a set were cut.

    Args:
        records: the cells.

    Returns:
        ``px``, ``um`` or ``margin``, whichever all cells share (the first of them), and ``normalized``; empty where the
        table does not say, or cells differ.
    """
    found: dict[str, Any] = {}
    margins = _shared([one.extra.get("crop_margin") for one in records])
    sides = [one.extra.get("crop_px") for one in records]
    if margins is not None:
        found["margin"] = float(margins)
    elif (side := _shared(sides)) is not None:
        found["px"] = int(side)
    elif all(side is not None and one.um_per_px for side, one in zip(sides, records, strict=True)):
        lengths = [int(side) * one.um_per_px for side, one in zip(sides, records, strict=True)]
        if lengths and max(lengths) <= min(lengths) * (1 + TOLERANCE):
            found["um"] = round(sum(lengths) / len(lengths), 3)
    normalized = _shared([one.extra.get("crop_normalized") for one in records])
    if found and normalized is not None:
        found["normalized"] = str(normalized)
    return found


def _shared(values: Sequence[Any]) -> str | None:
    """The one value of all, as text; None where there is none, or several."""
    texts = {None if value is None else str(value) for value in values}
    return texts.pop() if len(texts) == 1 else None
