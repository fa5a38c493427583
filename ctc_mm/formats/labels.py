"""From the labels people write to class names: built-in aliases, ``--labels from=to,...``, ``--classes``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ctc_mm.errors import AnnotationError
from ctc_mm.structures import IGNORE_LABEL

CTC, WBC = "CTC", "WBC"

# Normalised as `normalise_label` does it.
ALIASES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "ctc", "ctcs", "circulating tumor cell", "circulating tumor cells", "circulating tumour cell",
            "circulating tumour cells", "tumor", "tumors", "tumour", "tumours", "tumor cell", "tumor cells",
            "tumour cell", "tumour cells", "cancer", "cancer cell", "cancer cells",
        ),
        CTC,
    ),
    **dict.fromkeys(
        (
            "wbc", "wbcs", "white blood cell", "white blood cells", "leukocyte", "leukocytes", "leucocyte",
            "leucocytes", "non ctc", "nonctc", "non ctcs",
        ),
        WBC,
    ),
}  # fmt: skip


def normalise_label(label: str) -> str:
    """Give the form in which labels are compared: lower case, runs of spaces, ``_`` and ``-`` as one space."""
    if label.strip() == IGNORE_LABEL:
        return IGNORE_LABEL
    return re.sub(r"[\s_-]+", " ", label).strip().casefold()


def parse_label_map(text: str) -> dict[str, str]:
    """Read ``from=to,from=to`` into normalised label -> class name (or ``__ignore__``), in the order given.

    Raises:
        ValueError: an entry that is not ``from=to``, or a label that is mapped to two classes.
    """
    mapping: dict[str, str] = {}
    for entry in text.split(","):
        source, separator, target = (part.strip() for part in entry.partition("="))
        if not (source and separator and target) or "=" in target:
            raise ValueError(f"`--labels` takes from=to,from=to (for example ctc=CTC,wbc=WBC). Received: {entry!r}")
        key = normalise_label(source)
        if mapping.get(key, target) != target:
            raise ValueError(f"`--labels` maps {source!r} to both {mapping[key]!r} and {target!r}; keep one of them")
        mapping[key] = target
    return mapping


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``A,B,C`` into class names.

    Raises:
        ValueError: an empty name, a name given twice, or ``__ignore__``.
    """
    classes = tuple(name.strip() for name in text.split(","))
    if not all(classes) or len(set(classes)) != len(classes) or IGNORE_LABEL in classes:
        raise ValueError(f"`--classes` takes distinct names A,B,C, without {IGNORE_LABEL}. Received: {text!r}")
    return classes


@dataclass(frozen=True)
class LabelRules:
    """How labels become classes.

    Attributes:
        label_map: normalised label -> class name, from ``--labels``; it wins over the aliases.
        classes: the only classes allowed, in order, from ``--classes``; None: see :meth:`class_order`.
        skip_unknown: leave unknown labels out (counted) instead of failing.
        own_names: every label is a class of its own (a VOC set without ``--labels``).
    """

    label_map: Mapping[str, str] | None = None
    classes: tuple[str, ...] | None = None
    skip_unknown: bool = False
    own_names: bool = False

    def class_of(self, label: str, place: str) -> str | None:
        """Give the class of ``label``, ``__ignore__`` for an ignore region, None for one to be left out.

        Args:
            label: as written in the file.
            place: file and index, for the error.

        Raises:
            AnnotationError: an unknown label without ``skip_unknown``.
        """
        name = self._meaning(label)
        if name == IGNORE_LABEL or (name is not None and (self.classes is None or name in self.classes)):
            return name
        if self.skip_unknown:
            return None
        cure = f"map it with --labels '{label}=CTC' (or another class), or leave such objects out with --skip-unknown"
        if name is None:
            raise AnnotationError(f"{place}: unknown label {label!r}; {cure}")
        raise AnnotationError(
            f"{place}: label {label!r} means class {name!r}, which --classes {','.join(self.classes or ())} does not "
            f"list; add it there, or leave such objects out with --skip-unknown"
        )

    def class_order(self, seen: Iterable[str]) -> tuple[str, ...]:
        """Decide the classes and their order for a whole folder.

        ``--classes`` is taken as it is. A set that keeps its own names has them sorted. Otherwise the classes are CTC
        and WBC, also where one of them does not occur, unless ``--labels`` names others: then those named, in order of
        first mention, after CTC and WBC where these occur too. CTC is class 0 wherever there is one.

        Args:
            seen: classes that occur in the folder.

        Raises:
            AnnotationError: there is no class at all.
        """
        seen = set(seen) - {IGNORE_LABEL}
        if self.classes is not None:
            return self.classes
        if self.own_names:
            order = sorted(seen)
        else:
            named = [name for name in dict.fromkeys((self.label_map or {}).values()) if name != IGNORE_LABEL]
            if set(named) <= {CTC, WBC}:
                return CTC, WBC
            order = [name for name in (CTC, WBC) if name in seen and name not in named] + named
        if not order:
            raise AnnotationError("no labelled object in the whole folder, so no class; name them with --classes A,B")
        return tuple(sorted(order, key=lambda name: name != CTC))

    def _meaning(self, label: str) -> str | None:
        key = normalise_label(label)
        if key == IGNORE_LABEL:
            return IGNORE_LABEL
        if self.own_names:
            return label.strip()
        label_map = self.label_map or {}
        if key in label_map:
            return label_map[key]
        if key in ALIASES:
            return ALIASES[key]
        # A label that already is the name of a class needs no mapping.
        names = {normalise_label(name): name for name in (*(self.classes or ()), *label_map.values())}
        return names.get(key)
