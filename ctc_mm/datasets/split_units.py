"""Units to be divided, checked and sorted, and the division itself."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.datasets.allotment import allot
from ctc_mm.errors import ConfigError


class LeakWarning(UserWarning):
    """Cells of one patient, slide or raw image may be trained on and tested."""


@dataclass(frozen=True)
class Units:
    """Units sorted by id, each array (N,) of text.

    Attributes:
        ids: distinct names.
        strata: what every part is to have its share of.
        groups: what is never torn apart; of ungrouped units the ids.
        is_grouped: whether there are groups.
        required: strata that every training part has to hold.
    """

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
    ) -> Units:
        """Check what :func:`splits.kfold` is given, warn if there are no groups, and sort it."""
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

    def without(self, out: Collection[str]) -> Units:
        """Give all but these."""
        return self.where(~np.isin(self.ids, list(out)))

    def where(self, chosen: np.ndarray) -> Units:
        """Give those where ``chosen``, bool (N,), is True."""
        picked = (values[chosen] for values in (self.ids, self.strata, self.groups))
        return Units(*picked, self.is_grouped, self.required)

    def require_groups(self, least: int, purpose: str) -> None:
        """Refuse what cannot be divided.

        Raises:
            ConfigError: too few groups, or a required stratum that one of them holds alone.
        """
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
        """Warn of strata that not every fold can have."""
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


def check_number(name: str, value: object, is_right: bool, rule: str) -> None:
    """Refuse an argument that is not right.

    Raises:
        ConfigError: it names the argument, the rule and the value.
    """
    if not is_right:
        raise ConfigError(f"split: `{name}` must be {rule}. Received: {value!r}")
