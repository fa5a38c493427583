"""What a conversion kept, changed and left out: printed, and returned by every converter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ctc_mm.errors import AnnotationError, CTCError, ImageReadError
from ctc_mm.structures import LabelledSet

SHOWN_PLACES = 10
SHOWN_PROBLEMS = 20


@dataclass
class ConversionReport:
    """Counts of one conversion.

    Attributes:
        images: images written.
        images_without_cells: those of them without a cell (kept: a blank field teaches and tests too).
        cells: cells written, by class in class order.
        ignore_regions: regions written as neither truth nor background.
        skipped: reason -> places (file and index) that were left out.
        notes: remark -> places that were kept but changed, or that the user should know of.
        classes: class names in order.
    """

    classes: tuple[str, ...] = ()
    images: int = 0
    images_without_cells: int = 0
    cells: dict[str, int] = field(default_factory=dict)
    ignore_regions: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Cells written, over all classes."""
        return sum(self.cells.values())

    @property
    def skipped_counts(self) -> dict[str, int]:
        """How many were left out, by reason."""
        return {reason: len(places) for reason, places in self.skipped.items()}

    def skip(self, reason: str, place: str) -> None:
        """Count something left out."""
        self.skipped.setdefault(reason, []).append(place)

    def note(self, remark: str, place: str) -> None:
        """Count something kept but changed, or worth knowing."""
        self.notes.setdefault(remark, []).append(place)

    def count(self, labelled: LabelledSet) -> None:
        """Take the counts of what is written from the set itself."""
        cells = Counter(cell.label for image in labelled.images for cell in image.cells if not cell.is_ignore)
        self.classes = labelled.classes
        self.images = len(labelled.images)
        self.images_without_cells = sum(image.num_cells == 0 for image in labelled.images)
        self.cells = {name: cells[name] for name in labelled.classes}
        self.ignore_regions = sum(cell.is_ignore for image in labelled.images for cell in image.cells)

    def __str__(self) -> str:
        """Give the report as lines for a terminal."""
        by_class = ", ".join(f"{name} {number}" for name, number in self.cells.items())
        lines = [
            f"images kept: {self.images} (without cells: {self.images_without_cells})",
            f"cells kept: {self.kept} ({by_class})",
            f"ignore regions: {self.ignore_regions}",
            f"left out: {sum(map(len, self.skipped.values()))}",
            *_lines_of(self.skipped),
        ]
        if self.notes:
            lines += ["notes:", *_lines_of(self.notes)]
        return "\n".join(lines)


def _lines_of(places_by_reason: dict[str, list[str]]) -> Iterator[str]:
    for reason in sorted(places_by_reason):
        places = places_by_reason[reason]
        shown = "; ".join(places[:SHOWN_PLACES])
        more = f"; and {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
        yield f"  {reason}: {len(places)} ({shown}{more})"


class ProblemList:
    """Gathers the errors of many files, so that a user sees all of them after one run."""

    def __init__(self) -> None:
        self.errors: list[CTCError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an error about a label or image file for :meth:`raise_if_any`, and go on with the next file."""
        try:
            yield
        except (AnnotationError, ImageReadError) as error:
            self.errors.append(error)

    def raise_if_any(self) -> None:
        """Raise what was gathered: a single error as it is, several as one that lists them.

        Raises:
            AnnotationError: several problems, or a single one with a label file.
            ImageReadError: a single one with an image.
        """
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        lines = [f"- {error}" for error in self.errors[:SHOWN_PROBLEMS]]
        if len(self.errors) > SHOWN_PROBLEMS:
            lines.append(f"- and {len(self.errors) - SHOWN_PROBLEMS} more")
        raise AnnotationError(f"{len(self.errors)} problems, nothing written:\n" + "\n".join(lines))
