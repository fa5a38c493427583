"""Hold-out, k-fold and leave-one-group-out, each fold with a validation part, no group ever torn apart.

Units are cells (``cell_id``: all channels of a cell stay together) or images (``file_name``); a stratum is what each
part is to have its share of: the class of a cell, whether an image shows the target. Groups are patients, slides or raw
images (reading 6: crops of one field overlap). Without groups the split is that of the papers, and warns.

The split does not depend on the order of the units, and one seed gives one split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ctc_mm.datasets.split_files import Fold, Split, read_split_file, write_split_file
from ctc_mm.datasets.split_units import LeakWarning, Units, check_number
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
    "surplus",
    "write_split_file",
]

# What it costs if a part lacks a class: above all, training must not; then test; then validation.
ABSENT_IN_TRAINING, ABSENT_IN_TEST, ABSENT_IN_VALIDATION = 100.0, 10.0, 1.0
_STREAM_HELD_OUT, _STREAM_FOLDS, _STREAM_VALIDATION = range(3)


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
    units = Units.of(ids, strata, groups, not_used, required)
    check_number("folds", folds, folds >= 2 and folds == int(folds), "a whole number of at least 2")
    check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
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
        not_used: as in :func:`kfold`.
        required: as in :func:`kfold`.
        seed: of the division.
        group_key: what the groups are, for the file.

    Raises:
        ConfigError: as :func:`kfold`.
    """
    units = Units.of(ids, strata, groups, not_used, required)
    check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
    if test_ids is None:
        check_number("test_fraction", test_fraction, 0 < test_fraction < 1, "above 0 and under 1")
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
        not_used: as in :func:`kfold`.
        required: as in :func:`kfold`.
        seed: of the validation parts.
        group_key: what the groups are, for the file.

    Raises:
        ConfigError: as :func:`kfold`; fewer than two groups, or three with a validation part.
    """
    if groups is None:
        raise ConfigError("leave_one_group_out needs the units' groups (a patient or slide column); received None")
    units = Units.of(ids, strata, groups, not_used, required)
    check_number("val_fraction", val_fraction, 0 <= val_fraction < 1, "at least 0 and under 1")
    out = _held_out(units, held_out, seed)
    rest = units.without(out)
    names = sorted(set(rest.groups))
    rest.require_groups(2 + (val_fraction > 0), "leaving one group out and training on the others")
    made = [_fold(rest, name, rest.groups == name, val_fraction, [seed, n]) for n, name in enumerate(names)]
    settings = {"val_fraction": val_fraction}
    return _split("leave_one_group_out", seed, group_key, units, made, out, settings, not_used)


def surplus(
    ids: Sequence[str], strata: Sequence[str], target: str, *, ratio: float = 1.0, seed: int = 0
) -> tuple[str, ...]:
    """Choose units of other strata to leave out before folding, as the imFISH paper does (reading 18).

    Give the result to ``not_used``. Tests on what is left are tests on a balanced set that nobody has:
    ``ctc_mm.DownSampler`` reduces the training part alone.

    Args:
        ids: distinct names of the units, (N,).
        strata: of each unit, (N,).
        target: the stratum of which all are kept.
        ratio: units of other strata that stay for each of the target.
        seed: of the choice.

    Returns:
        Sorted ids to leave out; none where there are no more than wanted.

    Raises:
        ConfigError: no unit of the target, or a ratio that is not positive.
    """
    check_number("ratio", ratio, 0 < ratio < float("inf"), "above 0")
    others = sorted(name for name, stratum in zip(ids, strata, strict=True) if stratum != target)
    wanted = round(ratio * (len(ids) - len(others)))
    check_number("target", target, wanted > 0, f"one of {sorted(set(strata))}")
    kept = np.random.default_rng(seed).permutation(len(others))[:wanted]
    return tuple(np.delete(np.array(others, object), kept))


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


def _held_out(units: Units, held_out: float | Collection[str], seed: int) -> tuple[str, ...]:
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
    check_number("held_out", held_out, 0 <= held_out < 1, "at least 0 and under 1, or ids")
    if held_out == 0:
        return ()
    units.require_groups(2, "keeping a part aside")
    shares, absence = np.array([held_out, 1 - held_out]), np.array([ABSENT_IN_TEST, ABSENT_IN_TRAINING])
    return tuple(units.ids[units.divide(shares, absence, [seed, _STREAM_HELD_OUT]) == 0])


def _fold(units: Units, name: str, is_test: np.ndarray, val_fraction: float, seed: list[int]) -> Fold:
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
                "take more folds or groups, val_fraction=0, or split unit by unit (ungrouped), which warns"
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
    units: Units,
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
