"""Which basins of a watershed are one nucleus: a rule of six measures with fixed weights.

The watershed cuts nuclei apart at every dent and every bright grain. Two neighbours are put together again if a
logistic rule takes them for one nucleus: the border between them is as bright as they are, they are equally bright, and
together they fill an ellipse at least as well as they do alone. The most certain pair is put together first, and what
is then next to it is judged anew. The weights come from ``benchmarks/fit_nucleus_merge.py``, which also holds out each
source of images in turn.
"""

from __future__ import annotations

import heapq
import math
from operator import mul

import numpy as np

from ctc_mm.imaging.nuclei_basins import Basins

# Border's mean and maximal height over the lower of the two; how well the two fill an ellipse together, and by how much
# better than apart; difference of their heights; length of the border over the smaller one's size.
MEASURES = ("border_mean", "border_max", "ellipse", "ellipse_gain", "difference", "neck")
WEIGHTS = (6.81, 5.49, -25.13, 28.67, -10.6, 0.62)
BIAS = 13.5
# Two basins are put together if that is right at least this probably: a nucleus cut in two is often still half right
# (IoU 0.5), two nuclei in one hardly ever.
LEAST_PROBABILITY = 0.6
LEAST_SCORE = math.log(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))


class Region:
    """Sums of a basin, or of several put together, and what follows from them.

    Attributes:
        mean: mean height.
        ellipse: area over that of the ellipse with the same second moments: 1 for an ellipse, 0.89 for two discs that
            touch.
    """

    __slots__ = ("area", "ellipse", "height_max", "height_sum", "mean", "moments")

    def __init__(self, area: float, moments: tuple[float, ...], height_sum: float, height_max: float) -> None:
        self.area, self.moments, self.height_sum, self.height_max = area, moments, height_sum, height_max
        self.mean = height_sum / area
        x, y, xx, yy, xy = moments
        x, y = x / area, y / area
        # 1/12: a pixel is a square, not a point.
        var_x, var_y = xx / area - x * x + 1 / 12, yy / area - y * y + 1 / 12
        covariance = xy / area - x * y
        self.ellipse = area / (4 * math.pi * math.sqrt(max(var_x * var_y - covariance * covariance, 1e-6)))

    def __add__(self, other: Region) -> Region:
        a, b = self.moments, other.moments
        moments = (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4])
        height_max = max(self.height_max, other.height_max)
        return Region(self.area + other.area, moments, self.height_sum + other.height_sum, height_max)


Border = tuple[float, float, float]


def measure_pair(first: Region, second: Region, border: Border) -> tuple[float, ...]:
    """The measures of a pair of neighbours, in the order of ``MEASURES``.

    ``border`` holds the border's length in pixel edges, and the sum and the maximum of the heights along it.
    """
    edges, height_sum, height_max = border
    union = first + second
    apart = (first.ellipse * first.area + second.ellipse * second.area) / union.area
    return (
        height_sum / edges / min(first.mean, second.mean),
        height_max / min(first.height_max, second.height_max),
        union.ellipse,
        union.ellipse - apart,
        abs(first.mean - second.mean) / max(first.mean, second.mean),
        edges / math.sqrt(min(first.area, second.area)),
    )


def regions_of(basins: Basins) -> list[Region | None]:
    """The basins' sums as regions; place 0 is empty."""
    moments = [tuple(row) for row in basins.moments.tolist()]
    columns = (basins.area.tolist(), moments, basins.height_sum.tolist(), basins.height_max.tolist())
    return [Region(*values) if values[0] else None for values in zip(*columns, strict=True)]


def merge_basins(basins: Basins) -> np.ndarray:
    """Put basins together that are one nucleus.

    Returns:
        int64 (N + 1,): for each basin the lowest number of those it was put together with; 0 for the background.
    """
    return _Merging(basins).run()


class _Merging:
    """Greedy merging: neighbours by basin, borders by pair, a heap of pairs to be put together."""

    def __init__(self, basins: Basins) -> None:
        self.regions = regions_of(basins)
        self.owner = np.arange(len(basins.area))
        pairs = [tuple(pair) for pair in basins.pairs.tolist()]
        self.borders: dict[tuple[int, int], Border] = dict(
            zip(pairs, (tuple(row) for row in basins.borders.tolist()), strict=True)
        )
        self.neighbours: dict[int, set[int]] = {}
        self.scores: dict[tuple[int, int], float] = {}
        self.heap: list[tuple[float, tuple[int, int]]] = []
        for first, second in pairs:
            self.neighbours.setdefault(first, set()).add(second)
            self.neighbours.setdefault(second, set()).add(first)
            self._judge((first, second))

    def run(self) -> np.ndarray:
        while self.heap:
            score, pair = heapq.heappop(self.heap)
            if self.scores.get(pair) == -score:  # else it was judged anew since
                self._merge(*pair)
        while not np.array_equal(self.owner, self.owner[self.owner]):
            self.owner = self.owner[self.owner]
        return self.owner

    def _judge(self, pair: tuple[int, int]) -> None:
        measures = measure_pair(self.regions[pair[0]], self.regions[pair[1]], self.borders[pair])
        score = BIAS + sum(map(mul, WEIGHTS, measures))
        self.scores[pair] = score
        if score > LEAST_SCORE:
            heapq.heappush(self.heap, (-score, pair))

    def _merge(self, kept: int, gone: int) -> None:
        self.owner[gone] = kept
        self.regions[kept] += self.regions[gone]
        del self.borders[kept, gone], self.scores[kept, gone]
        self.neighbours[kept].discard(gone)
        for other in self.neighbours.pop(gone) - {kept}:
            old, new = (min(gone, other), max(gone, other)), (min(kept, other), max(kept, other))
            border = self.borders.pop(old)
            del self.scores[old]
            if new in self.borders:
                edges, height_sum, height_max = self.borders[new]
                border = (edges + border[0], height_sum + border[1], max(height_max, border[2]))
            self.borders[new] = border
            self.neighbours[other].discard(gone)
            self.neighbours[other].add(kept)
            self.neighbours[kept].add(other)
        for other in self.neighbours[kept]:
            self._judge((min(kept, other), max(kept, other)))
