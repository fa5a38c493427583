"""Colours of classes, the same in QuPath, report and figures; told apart by readers who do not see all colours."""

from __future__ import annotations

from collections.abc import Sequence

from ctc_mm.counting.records import UNIDENTIFIED

RGB = tuple[int, int, int]

# Okabe and Ito, Color Universal Design (2008).
TARGET_RGB: RGB = (213, 94, 0)
UNIDENTIFIED_RGB: RGB = (204, 121, 167)
OTHERS_RGB: tuple[RGB, ...] = ((86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (230, 159, 0))


def class_colours(classes: Sequence[str], target: str) -> dict[str, RGB]:
    """Give each class its colour: the target and ``unidentified`` always the same, the others by their order."""
    others = [name for name in classes if name not in (target, UNIDENTIFIED)]
    fixed = {target: TARGET_RGB, UNIDENTIFIED: UNIDENTIFIED_RGB}
    drawn = {name: OTHERS_RGB[place % len(OTHERS_RGB)] for place, name in enumerate(others)}
    return {name: fixed[name] if name in fixed else drawn[name] for name in classes}
