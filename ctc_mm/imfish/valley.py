"""Two kinds of cells or signals in one distribution of intensities: where the one ends and the other begins."""

from __future__ import annotations

import numpy as np

# A valley between two kinds of cells needs as many on each side, or this share of them ...
VALLEY_MEMBERS = 5
VALLEY_SHARE = 0.002
# ... and a density in it below this part of that of the lower hill.
VALLEY_DEPTH = 0.3
# Resolution and smoothing of the density over the natural logarithm of the intensity.
_BIN, _SMOOTHING = 0.05, 0.2


def deepest_valley(logs: np.ndarray) -> float | None:
    """Find where one hill of a density ends and the next begins.

    Args:
        logs: (N,) natural logarithms of an intensity, one a cell or signal.

    Returns:
        The place of the deepest valley with enough on both sides; None where there is one hill, or too few.
    """
    needed = max(VALLEY_MEMBERS, VALLEY_SHARE * len(logs))
    if len(logs) < 2 * needed:
        return None
    edge = 4 * _SMOOTHING
    bins = int(np.ceil((logs.max() - logs.min() + 2 * edge) / _BIN)) + 2
    # Half a bin more: no intensity, not even the least, lies where two bins meet.
    start = logs.min() - edge - _BIN / 2
    places = np.minimum(((logs - start) / _BIN).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins).astype(np.float64)
    offsets = np.arange(-int(edge / _BIN), int(edge / _BIN) + 1) * _BIN
    density = np.convolve(counts, np.exp(-0.5 * (offsets / _SMOOTHING) ** 2), mode="same")
    left, right = np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
    below = np.cumsum(counts)
    depth = density / np.maximum(np.minimum(left, right), 1e-12)
    depth[(below < needed) | (len(logs) - below < needed)] = np.inf
    if depth.min() > VALLEY_DEPTH:
        return None
    # A gap without any cell is wide: its middle is as far from one hill as from the other.
    bottom = np.flatnonzero(depth <= depth.min() + 1e-3)
    first = bottom[: np.argmax(np.diff(bottom) > 1) + 1] if (np.diff(bottom) > 1).any() else bottom
    return float(start + (first.mean() + 0.5) * _BIN)
