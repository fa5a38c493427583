"""From units and a protocol to the folds of a run."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctc_mm.datasets import splits
from ctc_mm.datasets.split_files import Fold, Split
from ctc_mm.engine.cross_validation.options import (
    GIVEN_TEST,
    HOLDOUT,
    KFOLD,
    LEAVE_ONE_GROUP_OUT,
    TRANSFER,
    USUAL_TEST_FRACTION,
    CrossValidationOptions,
)
from ctc_mm.engine.cross_validation.plan import FINAL, PlannedFold
from ctc_mm.engine.cross_validation.sources import Source
from ctc_mm.engine.cross_validation.units import Unit, choose, groups_of
from ctc_mm.errors import ConfigError


@dataclass(frozen=True)
class Division:
    """All folds of a run.

    Attributes:
        folds: in order; the final model last.
        group_of: group of each unit in use; the unit itself where groups are not looked at.
        warnings: what the user has to know of it.
    """

    folds: tuple[PlannedFold, ...]
    group_of: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What a run is about: its data, and how they are divided.

    Attributes:
        options: protocol, groups, sizes.
        source: of what is trained on.
        other: of what is tested, where that is another set.
        division: the folds.
    """

    options: CrossValidationOptions
    source: Source
    other: Source | None
    division: Division

    @property
    def group_key(self) -> str | None:
        """Column that the groups come from; None in paper mode."""
        return None if self.options.ungrouped else self.options.group_key


def divide(
    source: Source, options: CrossValidationOptions, training_seed: int, other: Source | None = None
) -> Division:
    """Divide the units of a config as the protocol says.

    Args:
        source: what is trained on.
        options: protocol, groups, sizes.
        training_seed: of the first training, and of the division where ``options.seed`` is None.
        other: what is tested in ``transfer`` with a set of its own.

    Raises:
        ConfigError: what cannot be divided: unknown columns, too few groups or cells of a class, sets that overlap.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = _Divider(source, options, training_seed, other).divide()
    # Once each: the folds of a run warn of the same.
    told = tuple(dict.fromkeys(str(one.message) for one in caught))
    return replace(made, warnings=(*made.warnings, *told))


class _Divider:
    def __init__(
        self, source: Source, options: CrossValidationOptions, training_seed: int, other: Source | None
    ) -> None:
        self.source, self.options, self.other = source, options, other
        self.training_seed = training_seed
        self.split_seed = training_seed if options.seed is None else options.seed
        self.trainable = choose(source.units, options.train_where, "--train-where", source.where)
        self.tested = choose(source.units, options.test_where, "--test-where", source.where)
        self.used = self._used()
        grouped = not options.ungrouped
        self.groups = groups_of(self.used, options.group_key, source.where) if grouped else None
        names = self.groups or [unit.id for unit in self.used]
        self.group_of = dict(zip((unit.id for unit in self.used), names, strict=True))

    def _used(self) -> list[Unit]:
        if self.options.protocol != TRANSFER or self.other is not None:
            return self.trainable
        both = {unit.id for unit in self.trainable} & {unit.id for unit in self.tested}
        if both:
            raise ConfigError(
                f"--train-where and --test-where overlap: {len(both)} {self.source.kind} fulfil both, such as "
                f"{min(both)!r}; make the conditions exclude each other"
            )
        return sorted([*self.trainable, *self.tested], key=lambda unit: unit.id)

    def divide(self) -> Division:
        folds: list[PlannedFold] = []
        for repeat in range(self.options.repeats):
            folds += self._repeat(repeat, sum(not fold.name.startswith(FINAL) for fold in folds))
        # The final models last: what they are tested on is looked at only after all the rest.
        folds.sort(key=lambda fold: fold.name.startswith(FINAL))
        return Division(tuple(folds), self.group_of)

    def _repeat(self, repeat: int, first: int) -> list[PlannedFold]:
        options, seed = self.options, self.split_seed + repeat
        if options.protocol == TRANSFER:
            split = self._transfer(seed)
        elif options.protocol == HOLDOUT:
            split = self._holdout(seed)
        else:
            split = self._folds(seed)
        planned = [
            self._planned(f"fold_{first + number}", self._title(fold, repeat), repeat, first + number, fold, split)
            for number, fold in enumerate(split.folds)
        ]
        if split.held_out:
            last = self._split("holdout", seed, test_ids=split.held_out)
            name = FINAL if not repeat else f"{FINAL}_{repeat}"
            title = "held-out test" + (f", repeat {repeat}" if options.repeats > 1 else "")
            planned.append(self._planned(name, title, repeat, first + len(split.folds), last.folds[0], last))
        return planned

    def _title(self, fold: Fold, repeat: int) -> str:
        titles = {
            KFOLD: f"fold {fold.name}",
            LEAVE_ONE_GROUP_OUT: f"{self.options.group_key} {fold.name}",
            HOLDOUT: "hold-out",
            TRANSFER: "transfer",
        }
        return titles[self.options.protocol] + (f", repeat {repeat}" if self.options.repeats > 1 else "")

    def _planned(self, name: str, title: str, repeat: int, number: int, fold: Fold, split: Split) -> PlannedFold:
        known = {*self.source.aside, *(unit.id for unit in self.source.units)}
        aside = sorted(known - {*fold.train, *fold.val, *fold.test})
        if self.other is not None:
            fold = replace(fold, test=tuple(unit.id for unit in self.other.units))
        return PlannedFold(
            name=name, title=title, repeat=repeat, seed=self.training_seed + number, ids=fold, not_used=tuple(aside)
        )

    def _folds(self, seed: int) -> Split:
        kind = "kfold" if self.options.protocol == KFOLD else "leave_one_group_out"
        extra: dict[str, Any] = {"folds": self.options.folds} if kind == "kfold" else {}
        return self._split(kind, seed, held_out=self._held_out(), **extra)

    def _held_out(self) -> float | Collection[str]:
        holdout = self.options.holdout
        if holdout == GIVEN_TEST:
            return self._given_test()
        return () if holdout is None else float(holdout)

    def _given_test(self) -> list[str]:
        given = sorted(self.source.given_test & set(self.group_of))
        if not given or len(given) == len(self.group_of):
            raise ConfigError(
                f"--holdout test keeps the config's own test set aside, but that is {'all' if given else 'none'} "
                f"of the {self.source.kind} of {self.source.where}; give a fraction such as --holdout 0.2"
            )
        return given

    def _holdout(self, seed: int) -> Split:
        if self.options.holdout == GIVEN_TEST:
            return self._split("holdout", seed, test_ids=self._given_test())
        return self._split("holdout", seed, test_fraction=float(self.options.holdout or USUAL_TEST_FRACTION))

    def _transfer(self, seed: int) -> Split:
        if self.other is None:
            return self._split("holdout", seed, test_ids=[unit.id for unit in self.tested])
        # What is tested lies elsewhere: of this set, only a validation part is kept aside.
        split = self._split("holdout", seed, test_fraction=self.options.val_fraction, val_fraction=0)
        fold = split.folds[0]
        return replace(split, folds=(Fold(fold.name, fold.train, fold.test, ()),))

    def _split(self, kind: str, seed: int, **arguments: Any) -> Split:
        strata = [unit.stratum for unit in self.used]
        arguments = {"val_fraction": self.options.val_fraction, "seed": seed, **arguments}
        # How many targets an image shows is balanced as far as it goes; a class of cells has to be there.
        required = None if self.source.kind == "cells" else ()
        return getattr(splits, kind)(
            [unit.id for unit in self.used],
            strata,
            self.groups,
            required=required,
            group_key=self.options.group_key,
            **arguments,
        )


def fold_split(fold: PlannedFold, group_of: Mapping[str, str], group_key: str | None, elsewhere: bool = False) -> Split:
    """Split file of one fold, for the table that it is trained on.

    Args:
        fold: its ids.
        group_of: group of each unit in use.
        group_key: what the groups are; None: they were not looked at.
        elsewhere: what it is tested on lies in another table.
    """
    ids = replace(fold.ids, test=()) if elsewhere else fold.ids
    units = [*ids.train, *ids.val, *ids.test]
    return Split(
        kind="holdout",
        seed=fold.seed,
        group_key=group_key,
        group_of={name: group_of[name] for name in units},
        folds=(ids,),
        not_used=fold.not_used,
        settings={"fold_of": fold.name},
    )


def whole_test_split(ids: Sequence[str], aside: Collection[str], seed: int) -> Split:
    """Split file of a table that is tested as a whole, what a config cannot use of it (``aside``) left out."""
    return Split(
        kind="holdout",
        seed=seed,
        group_key=None,
        group_of={name: name for name in ids},
        folds=(Fold("0", (), (), tuple(sorted(ids))),),
        not_used=tuple(sorted(aside)),
        settings={"fold_of": "all"},
    )
