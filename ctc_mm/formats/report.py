"""What a conversion kept, changed and left out: printed, and returned by every converter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ctc_mm.errors import AnnotationError, CTCError, ImageReadError
from ctc_mm.structures import LabelledSet

SHOWN_PLACES = 10
SHOWN_PROBLEMS = 20

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[Sequence[Any], str], Iterable[Any]]


def no_progress(items: Sequence[T], description: str) -> Sequence[T]:
    """Stand in for a progress bar where none is wanted."""
    return items


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


def gather(items: Sequence[T], work: Callable[[T], R], progress: Progress, description: str) -> list[R]:
    """Do ``work`` on every item and give the results; errors are raised at the end, so that a user sees all of them.

    Args:
        items: what to go through.
        work: reads or checks one item.
        progress: wraps the items, as ``ctc_mm.cli.progress`` does.
        description: what is being done, for the progress bar.

    Raises:
        AnnotationError: several problems (listed), or a single one with a label file.
        ImageReadError: a single one, with an image.
    """
    results: list[R] = []
    errors: list[CTCError] = []
    for item in progress(items, description):
        try:
            results.append(work(item))
        except (AnnotationError, ImageReadError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [f"- {error}" for error in errors[:SHOWN_PROBLEMS]]
        if len(errors) > SHOWN_PROBLEMS:
            lines.append(f"- and {len(errors) - SHOWN_PROBLEMS} more")
        raise AnnotationError(f"{len(errors)} problems, nothing written:\n" + "\n".join(lines))
    return results
