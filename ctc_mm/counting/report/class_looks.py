"""How classes are drawn: in the colours that all exports share, each with a mark of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctc_mm.counting.palette import class_colours
from ctc_mm.counting.records import UNIDENTIFIED

# A mark of its own goes with each colour, so that colour is never all that tells classes apart.
OTHER_MARKS = ("ring", "square", "triangle")


@dataclass(frozen=True)
class ClassLook:
    """How a class is drawn.

    Attributes:
        name: of the class.
        colour: ``#rrggbb``.
        mark: ``dot``, ``diamond``, ``ring``, ``square`` or ``triangle``.
        rank: place in lists and over others: the target 0, unidentified cells 1, then the others.
        dashed: whether boxes are dashed.
    """

    name: str
    colour: str
    mark: str
    rank: int
    dashed: bool


def class_looks(classes: Sequence[str], target: str) -> list[ClassLook]:
    """Looks of classes, in their order."""
    colours = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in class_colours(classes, target).items()}
    others = [name for name in classes if name not in (target, UNIDENTIFIED)]
    looks = []
    for name in classes:
        if name == target:
            looks.append(ClassLook(name, colours[name], "dot", 0, False))
        elif name == UNIDENTIFIED:
            looks.append(ClassLook(name, colours[name], "diamond", 1, True))
        else:
            place = others.index(name)
            looks.append(ClassLook(name, colours[name], OTHER_MARKS[place % len(OTHER_MARKS)], 2 + place, False))
    return looks
