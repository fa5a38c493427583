"""Whole groups dealt out to parts so that every part gets its share of every class."""

from __future__ import annotations

import numpy as np

# Exchanging two groups is tried up to this many groups; with more of them, moving single ones balances as well.
MOST_FOR_EXCHANGE = 150
MOST_ROUNDS = 500
STARTS = 4
_GAIN = 1e-9


def allot(counts: np.ndarray, shares: np.ndarray, absence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each group to one part.

    Minimised is the sum, over parts and classes, of the squared difference between the part's share of the class and
    the wanted one, the rarer class weighing more (by the root of how much rarer it is), plus ``absence`` for each
    class that a part lacks altogether. Groups are given out from the largest to the smallest, then moved and exchanged
    as long as that helps; the best of a few random starts counts. No part is left without a group.

    Args:
        counts: members of each class in each group, int (groups, classes); every class has members.
        shares: wanted share of each part, float (parts,), above 0, sum 1.
        absence: what it costs if a part lacks a class, float (parts,).
        rng: source of chance; one state, one result.

    Returns:
        Number of the part of each group, int64 (groups,).

    Raises:
        ValueError: fewer groups than parts.
    """
    if len(counts) < len(shares):
        raise ValueError(f"{len(shares)} parts need at least as many groups. Received: {len(counts)}")
    totals = counts.sum(axis=0)
    weights = np.sqrt(totals.max() / totals)
    problem = _Problem(counts / totals, weights, np.asarray(shares, float), np.asarray(absence, float))
    results = [problem.improve(problem.start(rng)) for _ in range(STARTS)]
    return min(results, key=problem.total)


class _Problem:
    """Groups' portions of each class (groups, classes), weights (classes,), shares and cost of absence (parts,)."""

    def __init__(self, portions: np.ndarray, weights: np.ndarray, shares: np.ndarray, absence: np.ndarray) -> None:
        self.portions, self.weights, self.shares, self.absence = portions, weights, shares, absence
        self.smallest = portions[portions > 0].min() / 2

    def cost(self, held: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Cost of parts that hold these portions, (..., classes) and numbers of parts (...)."""
        misses = (held - self.shares[parts][..., None]) ** 2 @ self.weights
        return misses + self.absence[parts] * (held < self.smallest).sum(axis=-1)

    def held(self, part_of: np.ndarray) -> np.ndarray:
        """Portion of each class in each part, (parts, classes)."""
        held = np.zeros((len(self.shares), self.portions.shape[1]))
        np.add.at(held, part_of, self.portions)
        return held

    def total(self, part_of: np.ndarray) -> float:
        return float(self.cost(self.held(part_of), np.arange(len(self.shares))).sum())

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Largest group first, each to the part where it helps most; equal ones in random order."""
        groups, parts = len(self.portions), np.arange(len(self.shares))
        order = rng.permutation(groups)
        order = order[np.argsort(-(self.portions * self.weights)[order].max(axis=1), kind="stable")]
        ranking = rng.permutation(len(parts))
        held, sizes = np.zeros((len(parts), self.portions.shape[1])), np.zeros(len(parts), int)
        part_of = np.zeros(groups, np.int64)
        for place, group in enumerate(order):
            change = self.cost(held + self.portions[group], parts) - self.cost(held, parts)
            # The last groups are for parts that have none yet.
            must = (sizes == 0) if groups - place <= np.count_nonzero(sizes == 0) else np.ones(len(parts), bool)
            change = np.where(must, np.round(change, 12), np.inf)
            part = ranking[np.argmin(change[ranking])]
            part_of[group] = part
            held[part] += self.portions[group]
            sizes[part] += 1
        return part_of

    def improve(self, part_of: np.ndarray) -> np.ndarray:
        """Move or exchange groups, the best step first, until none helps."""
        part_of = part_of.copy()
        for _ in range(MOST_ROUNDS):
            gain, groups, parts = self._best_move(part_of)
            if len(part_of) <= MOST_FOR_EXCHANGE:
                gain, groups, parts = max((gain, groups, parts), self._best_exchange(part_of), key=lambda one: one[0])
            if gain <= _GAIN:
                break
            part_of[groups] = parts
        return part_of

    def _best_move(self, part_of: np.ndarray) -> tuple[float, list[int], list[int]]:
        held, parts = self.held(part_of), np.arange(len(self.shares))
        now = self.cost(held, parts)
        without = self.cost(held[part_of] - self.portions, part_of) - now[part_of]
        arrives = self.cost(held[None] + self.portions[:, None], np.broadcast_to(parts, (len(part_of), len(parts))))
        change = without[:, None] + arrives - now
        change[np.arange(len(part_of)), part_of] = np.inf
        change[np.bincount(part_of, minlength=len(parts))[part_of] == 1] = np.inf
        group, part = np.unravel_index(np.argmin(change), change.shape)
        return -float(change[group, part]), [int(group)], [int(part)]

    def _best_exchange(self, part_of: np.ndarray) -> tuple[float, list[int], list[int]]:
        held = self.held(part_of)
        now = self.cost(held, np.arange(len(self.shares)))
        # What becomes of the part of the first group if the second comes in its place.
        swapped = held[part_of][:, None] - self.portions[:, None] + self.portions[None]
        after = self.cost(swapped, np.broadcast_to(part_of[:, None], swapped.shape[:2])) - now[part_of][:, None]
        change = np.where(part_of[:, None] == part_of[None], np.inf, after + after.T)
        first, second = np.unravel_index(np.argmin(change), change.shape)
        return -float(change[first, second]), [int(first), int(second)], [int(part_of[second]), int(part_of[first])]
