"""How good the nucleus network is on fields that it has not seen, by cross-validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.evaluation.functional.instances import InstanceMatches, match_instances, summarise_instances
from ctc_mm.imaging.nuclei_net import segment
from ctc_mm.models.nuclei_net.fields import SOURCES, TrainingField

IOU_THR, IGNORED_TRUTH_UNDER_PX = 0.5, 28
# Background of the 8-bit fields of 256 x 256 px that tells their two microscopes apart.
BRIGHT_BACKGROUND = 8


@dataclass(frozen=True)
class Split:
    """One round of a cross-validation.

    Attributes:
        name: of the round, and of its files.
        held_out: fields to test on.
        training: the other real fields.
    """

    name: str
    held_out: tuple[TrainingField, ...]
    training: tuple[TrainingField, ...]


def folds_by_image(fields: Sequence[TrainingField], number: int) -> list[Split]:
    """Every ``number``-th field of each source, in order of name, is held out together.

    Raises:
        ValueError: fewer than 2 folds.
    """
    if number < 2:
        raise ValueError(f"`number` of folds must be at least 2. Received: {number}")
    place: dict[str, int] = {}
    fold_of = []
    for field in fields:
        place[field.source] = place.get(field.source, -1) + 1
        fold_of.append(place[field.source] % number)
    return [_split(f"fold_{fold}", fields, [of == fold for of in fold_of]) for fold in range(number)]


def folds_by_microscope(fields: Sequence[TrainingField]) -> list[Split]:
    """All fields of one kind are held out together: what to expect of a microscope that training has never seen."""
    kinds = [microscope(field) for field in fields]
    return [_split(kind, fields, [other == kind for other in kinds]) for kind in sorted(set(kinds))]


def microscope(field: TrainingField) -> str:
    """The kind that a field is of, by source, size and background: the sets do not name their microscopes."""
    if field.source == SOURCES[0]:
        return "bbbc039"
    height, width = field.labels.shape
    if max(height, width) > 400 or height != width:
        return "dsb2018_large"
    if height != 256:
        return "dsb2018_360"
    return "dsb2018_256_bright" if field.background >= BRIGHT_BACKGROUND else "dsb2018_256_dark"


def _split(name: str, fields: Sequence[TrainingField], is_held_out: Sequence[bool]) -> Split:
    parts = [
        tuple(field for field, out in zip(fields, is_held_out, strict=True) if out == wanted)
        for wanted in (True, False)
    ]
    return Split(name, *parts)


def check_weights(weights: str | Path, fields: Iterable[TrainingField]) -> dict[str, InstanceMatches]:
    """Segment fields with an exported network, as a user would, and match them to their truth; by source and name."""
    return {
        f"{field.source}/{field.name}": match_instances(
            segment(field.image, weights=weights), field.labels, IOU_THR, IGNORED_TRUTH_UNDER_PX
        )
        for field in fields
    }


def scores_by_source(matches: Mapping[str, InstanceMatches]) -> dict[str, dict[str, float]]:
    """Scores by source: F1 of all nuclei together and the mean over fields; count error likewise."""
    scores = {}
    for source in sorted({name.split("/")[0] for name in matches}):
        found = summarise_instances(match for name, match in matches.items() if name.startswith(f"{source}/"))
        scores[source] = {
            "f1": found.counts.f1,
            "f1_mean": found.f1_mean,
            "count_error": found.count_error,
            "count_error_mean": found.count_error_mean,
        }
    return scores
