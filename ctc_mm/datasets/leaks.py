"""Leaks of a split: groups that it tears apart, and one picture on two sides of it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ctc_mm.datasets.cell_records import MOST_LISTED
from ctc_mm.datasets.likeness import Fingerprint, find_matches, fingerprint
from ctc_mm.datasets.split_files import Split
from ctc_mm.datasets.split_units import LeakWarning
from ctc_mm.errors import LeakError
from ctc_mm.formats.cell_set import read_cell_image
from ctc_mm.formats.report import Progress, no_progress

__all__ = [
    "Duplicate",
    "DuplicateLeak",
    "GroupLeak",
    "LeakReport",
    "find_duplicates",
    "find_leaks",
    "find_split_leaks",
    "join_groups",
]


@dataclass(frozen=True)
class Duplicate:
    """One picture under two units.

    Attributes:
        units: their ids, sorted.
        paths: an image of each, in that order.
        likeness: correlation of the fine grain; 1 for equal pixels.
        is_exact: equal pixels, if turned or mirrored.
    """

    units: tuple[str, str]
    paths: tuple[Path, Path]
    likeness: float
    is_exact: bool


@dataclass(frozen=True)
class GroupLeak:
    """A group with units in several parts of a fold."""

    fold: str
    group: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class DuplicateLeak:
    """A duplicate whose units are in two parts of a fold."""

    fold: str
    parts: tuple[str, str]
    duplicate: Duplicate


@dataclass(frozen=True)
class LeakReport:
    """What a check found; its text lists it.

    Attributes:
        groups: groups that are torn apart.
        duplicates: pictures on two sides.
        unchecked: images of one grey value, which cannot be told apart.
    """

    groups: tuple[GroupLeak, ...] = ()
    duplicates: tuple[DuplicateLeak, ...] = ()
    unchecked: tuple[Path, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.groups and not self.duplicates

    def require_clean(self, warn_only: bool = False) -> None:
        """Fail if something was found, listing it.

        Args:
            warn_only: warn instead, as for the splits of the papers (``paper`` modes).

        Raises:
            LeakError: something was found, and not ``warn_only``.
        """
        if self.is_clean:
            return
        if not warn_only:
            raise LeakError(str(self))
        warnings.warn(str(self), LeakWarning, stacklevel=2)

    def __str__(self) -> str:
        groups = [f"fold {one.fold}: {one.group} in {' and '.join(one.parts)}" for one in self.groups]
        pairs = [_describe(one) for one in self.duplicates]
        lines = []
        if groups:
            lines.append(f"groups that the split tears apart: {len(groups)}")
            lines += _listed(groups)
            lines.append("  Split by whole groups, or correct the groups in the table.")
        if pairs:
            lines.append(f"pictures on two sides of the split: {len(pairs)}")
            lines += _listed(pairs)
            lines.append("  Give both the same group in the table, or take one of them out (keep = 0).")
        if self.unchecked:
            lines.append(f"images of one grey value, not compared: {len(self.unchecked)}")
        return "\n".join(lines) or "no leak found"


def find_duplicates(
    paths_of: Mapping[str, Sequence[Path]], progress: Progress = no_progress
) -> tuple[list[Duplicate], list[Path]]:
    """Find pictures that stand under two units.

    Args:
        paths_of: unit id -> its images (the channels of a cell).
        progress: wraps the images.

    Returns:
        The pairs of units, each once with its most alike images; and the images of one grey value.

    Raises:
        ImageReadError: an image cannot be read.
    """
    units = sorted(paths_of)
    listed = [(number, path) for number, unit in enumerate(units) for path in sorted(set(paths_of[unit]))]
    prints: list[Fingerprint] = [fingerprint(read_cell_image(path)) for _, path in progress(listed, "comparing images")]
    unit_at = np.array([number for number, _ in listed], np.int64)
    paths = [path for _, path in listed]
    matches = find_matches(prints, paths, lambda first, second: unit_at[first] != unit_at[second])
    best: dict[tuple[int, int], Duplicate] = {}
    for match in matches:
        key = (int(unit_at[match.first]), int(unit_at[match.second]))
        if key not in best or match.likeness > best[key].likeness:
            best[key] = Duplicate(
                (units[key[0]], units[key[1]]),
                (paths[match.first], paths[match.second]),
                match.likeness,
                match.is_exact,
            )
    unchecked = [path for one, path in zip(prints, paths, strict=True) if one.digest is None]
    return [best[key] for key in sorted(best)], unchecked


def join_groups(group_of: Mapping[str, str], duplicates: Sequence[Duplicate]) -> dict[str, str]:
    """Make one group of groups that share a picture, so that a split keeps them together.

    Args:
        group_of: unit id -> group.
        duplicates: see :func:`find_duplicates`; units that ``group_of`` does not know are passed over.

    Returns:
        Unit id -> group; joined groups bear the first of their names.
    """
    joined = {group: group for group in group_of.values()}

    def first_of(group: str) -> str:
        while joined[group] != group:
            group = joined[group]
        return group

    for duplicate in duplicates:
        if all(unit in group_of for unit in duplicate.units):
            first, second = sorted(first_of(group_of[unit]) for unit in duplicate.units)
            joined[second] = first
    return {unit: first_of(group) for unit, group in group_of.items()}


def find_leaks(
    parts: Mapping[str, Collection[str]],
    group_of: Mapping[str, str | None],
    duplicates: Sequence[Duplicate] = (),
    fold: str = "0",
) -> LeakReport:
    """Compare the parts of one fold.

    Args:
        parts: name of a part -> its unit ids.
        group_of: unit id -> patient, slide or raw image; None where it is not known.
        duplicates: see :func:`find_duplicates`.
        fold: its name, for the report.
    """
    parts_of: dict[str, list[str]] = {}
    for part, ids in parts.items():
        for group in {group_of.get(unit) for unit in ids} - {None}:
            parts_of.setdefault(group, []).append(part)
    torn = [GroupLeak(fold, group, tuple(found)) for group, found in sorted(parts_of.items()) if len(found) > 1]
    sets = {part: set(ids) for part, ids in parts.items()}
    leaks = []
    for duplicate in duplicates:
        first, second = duplicate.units
        for one, other in combinations(sets, 2):
            if first in sets[one] and second in sets[other]:
                leaks.append(DuplicateLeak(fold, (one, other), duplicate))
            elif first in sets[other] and second in sets[one]:
                leaks.append(DuplicateLeak(fold, (other, one), duplicate))
    return LeakReport(tuple(torn), tuple(leaks))


def find_split_leaks(
    split: Split,
    group_of: Mapping[str, str | None],
    paths_of: Mapping[str, Sequence[Path]],
    progress: Progress = no_progress,
) -> LeakReport:
    """Check every fold of a split: groups, and pictures of all units in use.

    Args:
        split: the split.
        group_of: unit id -> group as the table has it, also where the split is not grouped.
        paths_of: unit id -> its images.
        progress: wraps the images.

    Raises:
        ImageReadError: an image cannot be read.
    """
    duplicates, unchecked = find_duplicates({unit: paths_of[unit] for unit in split.group_of}, progress)
    reports = []
    for fold in split.folds:
        parts = {"train": fold.train, "val": fold.val, "test": fold.test, "held_out": split.held_out}
        reports.append(find_leaks(parts, group_of, duplicates, fold.name))
    return LeakReport(
        tuple(leak for report in reports for leak in report.groups),
        tuple(leak for report in reports for leak in report.duplicates),
        tuple(unchecked),
    )


def _describe(leak: DuplicateLeak) -> str:
    one, other = leak.duplicate.units
    how = "equal pixels" if leak.duplicate.is_exact else f"grain agrees to {leak.duplicate.likeness:.2f}"
    return (
        f"fold {leak.fold}: {one} in {leak.parts[0]}, {other} in {leak.parts[1]} ({how}: {leak.duplicate.paths[0]}, "
        f"{leak.duplicate.paths[1]})"
    )


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
    return [f"  {line}" for line in lines[:MOST_LISTED]] + more
