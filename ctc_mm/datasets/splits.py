"""Hold-out, k-fold and leave-one-group-out, each fold with a validation part, no group ever torn apart.

Units are cells (``cell_id``: all channels of a cell stay together) or images (``file_name``); a stratum is what each
part is to have its share of: the class of a cell, whether an image shows the target. Groups are patients, slides or raw
images (reading 6: crops of one field overlap). Without groups the split is that of the papers, and warns.

The split does not depend on the order of the units, and one seed gives one split.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.datasets.allotment import allot
from ctc_mm.datasets.split_files import Fold, Split, read_split_file, write_split_file
from ctc_mm.errors import ConfigError

__all__ = [
    "Fold",
    "LeakWarning",
    "Split",
    "holdout",
    "kfold",
    "leave_one_group_out",
    "part_counts",
    "read_split_file",
    "write_split_file",
]

# What it costs if a part lacks a class: above all, training must not; then test; then validation.
ABSENT_IN_TRAINING, ABSENT_IN_TEST, ABSENT_IN_VALIDATION = 100.0, 10.0, 1.0
_STREAM_HELD_OUT, _STREAM_FOLDS, _STREAM_VALIDATION = range(3)


class LeakWarning(UserWarning):
    """Cells of one patient, slide or raw image may be trained on and tested."""


def kfold(
    ids: Sequence[str],
    strata: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    folds: int = 5,
    val_fraction: float = 0.2,
    held_out: float | Collection[str] = (),
    not_used: Collection[str] = (),
    required: Collection[str] | None = None,
    seed: int = 0,
    group_key: str = "group",
) -> Split:
    """Divide units into folds: each is tested once, by a model that never saw its group.

    Args:
        ids: distinct names of the units, (N,).
        strata: of each unit, (N,).
        groups: of each unit, (N,); None: unit by unit, as the papers do, with a warning.
        folds: how many.
        val_fraction: part of each training part that is kept aside to choose thresholds and weights; 0: none.
        held_out: what no fold holds, for the last test: a fraction of the units, or their ids.
        not_used: ids that are left out on purpose; named in the file, so that the table still fits it.
        required: strata that every training part has to hold; None: all of them.
        seed: of the division.
        group_key: what the groups are, for the file.

    Raises:
        ConfigError: sizes that differ, doubled ids, fractions out of range, too few groups (or units), a class that is
            all in one group, so that it could not be trained on and tested.
    """
    units = _Units.of(ids, strata, groups, not_used, required)
    _check_number("folds", folds, folds >= 2 and folds == int(folds), "a whole number of at least 2")
    _check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
    out = _held_out(units, held_out, seed)
    rest = units.without(out)
    rest.require_groups(folds, f"{folds} folds")
    rest.warn_of_rare(folds)
    shares = np.full(folds, 1 / folds)
    part_of = rest.divide(shares, np.full(folds, ABSENT_IN_TEST), [seed, _STREAM_FOLDS])
    made = [_fold(rest, str(number), part_of == number, val_fraction, [seed, number]) for number in range(folds)]
    settings = {"folds": folds, "val_fraction": val_fraction}
    return _split("kfold", seed, group_key, units, made, out, settings, not_used)


def holdout(
    ids: Sequence[str],
    strata: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    test_ids: Collection[str] | None = None,
    not_used: Collection[str] = (),
    required: Collection[str] | None = None,
    seed: int = 0,
    group_key: str = "group",
) -> Split:
    """Divide units once into training, validation and test: a split of one fold.

    Args:
        ids: distinct names of the units, (N,).
        strata: of each unit, (N,).
        groups: of each unit, (N,); None: unit by unit, as the papers do, with a warning.
        test_fraction: part that is tested.
        val_fraction: part of what remains that is kept aside to choose thresholds and weights; 0: none.
        test_ids: what to test on, in the place of ``test_fraction``.
        not_used, required: as in :func:`kfold`.
        seed: of the division.
        group_key: what the groups are, for the file.

    Raises:
        ConfigError: as :func:`kfold`.
    """
    units = _Units.of(ids, strata, groups, not_used, required)
    _check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
    if test_ids is None:
        _check_number("test_fraction", test_fraction, 0 < test_fraction < 1, "above 0 and under 1")
    tested = _held_out(units, test_fraction if test_ids is None else test_ids, seed)
    fold = _fold(units, "0", np.isin(units.ids, tested), val_fraction, [seed, 0])
    settings = {"val_fraction": val_fraction} | ({"test_fraction": test_fraction} if test_ids is None else {})
    return _split("holdout", seed, group_key, units, [fold], (), settings, not_used)


def leave_one_group_out(
    ids: Sequence[str],
    strata: Sequence[str],
    groups: Sequence[str],
    *,
    val_fraction: float = 0.2,
    held_out: float | Collection[str] = (),
    not_used: Collection[str] = (),
    required: Collection[str] | None = None,
    seed: int = 0,
    group_key: str = "group",
) -> Split:
    """Make one fold for each group (a patient), which alone is tested there (reading 25).

    Args:
        ids: distinct names of the units, (N,).
        strata: of each unit, (N,).
        groups: of each unit, (N,).
        val_fraction: part of the other groups that is kept aside; 0: none.
        held_out: as in :func:`kfold`.
        not_used, required: as in :func:`kfold`.
        seed: of the validation parts.
        group_key: what the groups are, for the file.

    Raises:
        ConfigError: as :func:`kfold`; fewer than two groups, or three with a validation part.
    """
    if groups is None:
        raise ConfigError("leave_one_group_out needs the units' groups (a patient or slide column); received None")
    units = _Units.of(ids, strata, groups, not_used, required)
    _check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
    out = _held_out(units, held_out, seed)
    rest = units.without(out)
    names = sorted(set(rest.groups))
    rest.require_groups(2 + (val_fraction > 0), "leaving one group out and training on the others")
    made = [_fold(rest, name, rest.groups == name, val_fraction, [seed, n]) for n, name in enumerate(names)]
    settings = {"val_fraction": val_fraction}
    return _split("leave_one_group_out", seed, group_key, units, made, out, settings, not_used)


def part_counts(split: Split, stratum_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """Count the units of each stratum in each part, to see how even a split is.

    Returns:
        One row a fold and part: ``fold``, ``part``, ``groups`` (number of them), and the count of each stratum.
    """
    strata = sorted(set(stratum_of.values()))
    rows = []
    for fold in split.folds:
        for part in ("train", "val", "test"):
            ids = fold.part(part)
            counts = Counter(stratum_of[name] for name in ids)
            groups = len({split.group_of[name] for name in ids})
            rows.append({"fold": fold.name, "part": part, "groups": groups} | {name: counts[name] for name in strata})
    return rows


@dataclass(frozen=True)
class _Units:
    """Units sorted by id, each array (N,); ungrouped ones are groups of their own."""

    ids: np.ndarray
    strata: np.ndarray
    groups: np.ndarray
    is_grouped: bool
    required: frozenset[str]

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        strata: Sequence[str],
        groups: Sequence[str] | None,
        not_used: Collection[str],
        required: Collection[str] | None,
    ) -> _Units:
        if len(strata) != len(ids) or (groups is not None and len(groups) != len(ids)):
            sizes = (len(ids), len(strata), None if groups is None else len(groups))
            raise ConfigError(f"split: ids, strata and groups must be of one length. Received: {sizes}")
        twice = [name for name, count in Counter(ids).items() if count > 1]
        if twice:
            raise ConfigError(f"split: unit ids must be distinct. Received {sorted(twice)[0]!r} twice")
        lacking = [] if groups is None else [ids[i] for i, group in enumerate(groups) if group in (None, "")]
        if lacking:
            raise ConfigError(
                f"split: {len(lacking)} of {len(ids)} units have no group ({', '.join(sorted(lacking)[:5])}); fill it "
                "in, group by another column, or split unit by unit (ungrouped), which tests on cells of known patients"
            )
        if groups is None:
            warnings.warn(
                "ungrouped split, as in the papers: cells of one patient, slide or field may be trained on and tested, "
                "so results are too good for new patients; group by a column to avoid it",
                LeakWarning,
                stacklevel=3,
            )
        chosen = sorted((i for i, name in enumerate(ids) if name not in set(not_used)), key=lambda i: ids[i])
        pick = [np.array([str(values[i]) for i in chosen], object) for values in (ids, strata, groups or ids)]
        needed = set(strata) if required is None else set(required)
        return cls(*pick, is_grouped=groups is not None, required=frozenset(map(str, needed)))

    def without(self, out: Collection[str]) -> _Units:
        return self.where(~np.isin(self.ids, list(out)))

    def where(self, chosen: np.ndarray) -> _Units:
        picked = (values[chosen] for values in (self.ids, self.strata, self.groups))
        return _Units(*picked, self.is_grouped, self.required)

    def require_groups(self, least: int, purpose: str) -> None:
        """Refuse what cannot be divided: too few groups, or a class that one of them holds alone."""
        what = "groups" if self.is_grouped else "units"
        found = sorted(set(self.groups))
        if len(found) < least:
            shown = f" ({', '.join(found[:5])})" if found else ""
            raise ConfigError(
                f"split: {purpose} need at least {least} {what}, and there are {len(found)}{shown}; take fewer folds, "
                "group by a finer column (slide or raw image), set val_fraction=0 if the validation part is what "
                "cannot be had, or split unit by unit (ungrouped), which warns"
            )
        for stratum, count in self.holders().items():
            if count < 2 and stratum in self.required:
                raise ConfigError(
                    f"split: all {np.count_nonzero(self.strata == stratum)} units of {stratum!r} are in one of the "
                    f"{what}, so they cannot be both trained on and tested; get more of them, group by a finer column, "
                    "or split unit by unit (ungrouped), which warns"
                )

    def lacking(self) -> list[str]:
        """Required strata that none of these units is of."""
        return sorted(self.required - set(self.strata))

    def holders(self) -> dict[str, int]:
        """In how many groups each stratum occurs."""
        pairs = set(zip(self.strata, self.groups, strict=True))
        return dict(sorted(Counter(stratum for stratum, _ in pairs).items()))

    def warn_of_rare(self, folds: int) -> None:
        rare = {stratum: count for stratum, count in self.holders().items() if count < folds}
        for stratum, count in rare.items():
            warnings.warn(
                f"split: {stratum!r} occurs in {count} {'groups' if self.is_grouped else 'units'} only, so "
                f"{folds - count} of {folds} folds are tested without it; take {count} folds",
                UserWarning,
                stacklevel=3,
            )

    def divide(self, shares: np.ndarray, absence: np.ndarray, seed: list[int]) -> np.ndarray:
        """Number of the part of each unit, (N,)."""
        rng = np.random.default_rng(seed)
        names, group_at = np.unique(self.groups.astype(str), return_inverse=True)
        strata, stratum_at = np.unique(self.strata.astype(str), return_inverse=True)
        if len(names) == len(self.ids):
            return _deal(stratum_at, shares, rng)
        counts = np.zeros((len(names), len(strata)), np.int64)
        np.add.at(counts, (group_at, stratum_at), 1)
        return allot(counts, shares, absence, rng)[group_at]


def _deal(stratum_at: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal single units: each part gets its share of each stratum within one unit, and of all of them."""
    part_of = np.zeros(len(stratum_at), np.int64)
    sizes = np.zeros(len(shares))
    for stratum in np.argsort(np.bincount(stratum_at), kind="stable"):
        members = rng.permutation(np.flatnonzero(stratum_at == stratum))
        wanted = shares * len(members)
        quota = np.floor(wanted + 1e-9).astype(int)
        # What is left over goes to the parts that are furthest behind, the others of the stratum counted in.
        behind = (
            wanted - quota + 1e-6 * (sizes.sum() * shares - sizes) / len(stratum_at) + 1e-9 * rng.random(len(shares))
        )
        quota[np.argsort(-behind, kind="stable")[: len(members) - quota.sum()]] += 1
        part_of[members] = np.repeat(np.arange(len(shares)), quota)
        sizes += quota
    return part_of


def _held_out(units: _Units, held_out: float | Collection[str], seed: int) -> tuple[str, ...]:
    """Ids kept aside: those given, or a fraction, whole groups each."""
    if not isinstance(held_out, int | float):
        unknown = sorted(set(held_out) - set(units.ids))
        if unknown:
            raise ConfigError(f"split: {len(unknown)} ids to be kept aside are no units, such as {unknown[0]!r}")
        inside = np.isin(units.ids, list(held_out))
        torn = sorted(set(units.groups[inside]) & set(units.groups[~inside]))
        if torn:
            raise ConfigError(
                f"split: {len(torn)} groups would be both kept aside and used ({', '.join(torn[:5])}); keep whole "
                "groups aside, or split unit by unit (ungrouped), which warns"
            )
        return tuple(sorted(held_out))
    _check_number("held_out", held_out, 0 <= held_out < 1, "at least 0 and under 1, or ids")
    if held_out == 0:
        return ()
    units.require_groups(2, "keeping a part aside")
    shares, absence = np.array([held_out, 1 - held_out]), np.array([ABSENT_IN_TEST, ABSENT_IN_TRAINING])
    return tuple(units.ids[units.divide(shares, absence, [seed, _STREAM_HELD_OUT]) == 0])


def _fold(units: _Units, name: str, is_test: np.ndarray, val_fraction: float, seed: list[int]) -> Fold:
    rest = units.where(~is_test)
    lost = rest.lacking()
    if lost:
        raise ConfigError(
            f"split: fold {name!r} tests on all {lost[0]!r} there are, so none is left to train on; take fewer folds, "
            "group by a finer column, or split unit by unit (ungrouped), which warns"
        )
    is_val = np.zeros(len(rest.ids), bool)
    if val_fraction > 0:
        least = len(set(rest.groups))
        if least < 2:
            raise ConfigError(
                f"split: fold {name!r} has {least} group(s) left to train on, and a validation part needs one more; "
                "take more groups, val_fraction=0, or split unit by unit (ungrouped), which warns"
            )
        shares = np.array([val_fraction, 1 - val_fraction])
        absence = np.array([ABSENT_IN_VALIDATION, ABSENT_IN_TRAINING])
        is_val = rest.divide(shares, absence, [*seed, _STREAM_VALIDATION]) == 0
    lost = rest.where(~is_val).lacking()
    if lost:
        raise ConfigError(
            f"split: fold {name!r} cannot have {lost[0]!r} in training and a validation part of {val_fraction:g}; take "
            "fewer folds, a smaller val_fraction or a finer column to group by"
        )
    return Fold(name, tuple(rest.ids[~is_val]), tuple(rest.ids[is_val]), tuple(units.ids[is_test]))


def _split(
    kind: str,
    seed: int,
    group_key: str,
    units: _Units,
    folds: list[Fold],
    out: Collection[str],
    settings: dict[str, Any],
    not_used: Collection[str],
) -> Split:
    return Split(
        kind=kind,
        seed=seed,
        group_key=group_key if units.is_grouped else None,
        group_of=dict(zip(units.ids, units.groups, strict=True)),
        folds=tuple(folds),
        held_out=tuple(sorted(out)),
        not_used=tuple(sorted(not_used)),
        settings=settings,
    )


def _check_number(name: str, value: float, is_right: bool, rule: str) -> None:
    if not is_right:
        raise ConfigError(f"split: `{name}` must be {rule}. Received: {value!r}")
