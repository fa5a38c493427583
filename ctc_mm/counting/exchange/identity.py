"""Names that a cell keeps while it travels through other programs."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator

from ctc_mm.counting.records import CountedCell, SlideCount

# Any fixed value will do: ids depend on slide and box alone, so that a count made again gives the same ones.
_NAMESPACE = uuid.UUID("6f1f0f5c-0d0e-5c7a-9a35-3b6d6f0f4c11")


def numbered_cells(count: SlideCount) -> Iterator[tuple[int, str, CountedCell]]:
    """Give every cell with its ``detection_id`` (1, 2, ... in the fixed order) and a UUID.

    QuPath keeps an object's id only where it is a UUID. It is made of the slide's name and the cell's box, so a count
    made again with another threshold gives the same cell the same id.
    """
    seen: Counter[str] = Counter()
    for number, cell in enumerate(count.cells, start=1):
        place = ",".join(f"{value:.3f}" for value in cell.box_xyxy)
        seen[place] += 1
        yield number, str(uuid.uuid5(_NAMESPACE, f"{count.spec.name}\n{place}\n{seen[place]}")), cell
