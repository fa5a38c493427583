"""A field as it looks at another pixel size, read region by region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from ctc_mm.imaging.field import Channel, Field, RegionXYXY, check_scale

# Reach of the cubic kernel to each side, in pixels of the coarser of the two grids.
_REACH = 2.0
# Rows of the old field that are in memory at once. Sums are taken in steps that begin at its multiples, so that their
# rounding does not hang on the region either; most files' tiles end there too, and are decoded once.
_STRIP_PX = 512


def resampled_field(field: Field, um_per_px_to: float) -> Field:
    """Show a field at another pixel size; nothing is read before it is asked for.

    Both grids begin at the same corner, so that a place (x, y) of ``field`` lies at (x, y) * um_per_px / um_per_px_to.
    Cubic convolution (Keys, IEEE Trans. ASSP 29, 1981, eq. 15, a = -1/2), widened by the ratio when shrinking so that
    nothing finer than the new pixels is left to alias. A pixel's value follows from its place in the field alone, not
    from the region it is read with. Integers are rounded and held in their range.

    Args:
        field: with a known ``um_per_px``; it belongs to the new field, which closes it.
        um_per_px_to: side of the new pixels in micrometres.

    Returns:
        A field with the same channels and dtype; ``field`` itself where the pixel size is the same.

    Raises:
        ValueError: the pixel size of the field is unknown, or ``um_per_px_to`` is no positive number.
    """
    if check_scale(um_per_px_to) is None or field.um_per_px is None:
        raise ValueError(
            f"field {field.name!r} of {field.um_per_px} um per px cannot be resampled to {um_per_px_to}: both must be "
            "known; give um_per_px"
        )
    if field.um_per_px == um_per_px_to:
        return field
    source = _ResampledChannels(field, um_per_px_to / field.um_per_px)
    where = str(field.paths[0]) if field.paths else f"field {field.name!r}"
    channels = {name: Channel(source, place, where) for place, name in enumerate(field.channels)}
    note = f"resampled from {field.um_per_px:g} to {um_per_px_to:g} um per px"
    return Field(field.name, field.paths, channels, um_per_px_to, (*field.notes, note), source.gaps_xyxy())


class _ResampledChannels:
    """The channels of a field on a grid whose pixels are ``step`` times as large."""

    um_per_px_xy = None
    notes = ()

    def __init__(self, field: Field, step: float) -> None:
        self._field, self._step = field, step
        self.names: tuple[str | None, ...] = field.channels
        self.dtype = field.dtype
        self.paths: tuple[Path, ...] = field.paths
        width, height = field.size_wh
        self.size_wh = (max(1, round(width / step)), max(1, round(height / step)))

    def gaps_xyxy(self) -> tuple[RegionXYXY, ...]:
        """Gaps of the old field in new pixels, to the nearest edge, so that none lies over another."""
        width, height = self.size_wh
        moved = [
            (
                *(min(round(value / self._step), width) for value in (x0, x1)),
                *(min(round(value / self._step), height) for value in (y0, y1)),
            )
            for x0, y0, x1, y1 in self._field.gaps_xyxy
        ]
        return tuple((x0, y0, x1, y1) for x0, x1, y0, y1 in moved if x0 < x1 and y0 < y1)

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region, strip by strip of the old field: a plane (h, w) for each index."""
        x0, y0, x1, y1 = region_xyxy
        width, height = self._field.size_wh
        left, across = _weights(x0, x1, width, self._step)
        top, down = _weights(y0, y1, height, self._step)
        wanted = [self.names[index] for index in indices]
        sums = np.zeros((len(wanted), y1 - y0, x1 - x0))
        bottom = top + down.shape[1]
        for start in range(top // _STRIP_PX * _STRIP_PX, bottom, _STRIP_PX):
            above, below = max(start, top), min(start + _STRIP_PX, bottom)
            block = self._field.read(wanted, (left, above, left + across.shape[1], below))
            weights = down[:, above - top : below - top]
            rows = np.flatnonzero(np.diff(weights.indptr))
            touched = slice(rows[0], rows[-1] + 1)
            for plane, total in zip(block, sums, strict=True):
                total[touched] += (across @ (weights[touched] @ plane.astype(np.float64)).T).T
        return [self._in_dtype(total) for total in sums]

    def _in_dtype(self, plane: np.ndarray) -> np.ndarray:
        """Round what is not needed any more."""
        if self.dtype.kind == "f":
            return plane.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(plane, out=plane), limits.min, limits.max, out=plane).astype(self.dtype)

    def close(self) -> None:
        """Close the field."""
        self._field.close()


def _weights(start: int, stop: int, length: int, step: float) -> tuple[int, sparse.csr_array]:
    """Weights of old pixels for the new pixels ``start`` to ``stop`` of an axis of ``length`` old pixels.

    Returns:
        The first old pixel that counts, and (new, old) weights from there on; each row sums to 1.
    """
    widening = max(step, 1.0)
    # The one new pixel of a field smaller than half of it has its centre outside.
    centres = np.minimum((np.arange(start, stop) + 0.5) * step, length)
    first = np.floor(centres - _REACH * widening).astype(np.int64)
    taps = int(np.ceil(2 * _REACH * widening)) + 1
    places = first[:, None] + np.arange(taps)
    weights = _cubic((places + 0.5 - centres[:, None]) / widening)
    weights[(places < 0) | (places >= length)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    used = places[weights != 0]
    begin, end = int(used.min()), int(used.max()) + 1
    rows, columns = np.nonzero(weights)
    shape = (stop - start, end - begin)
    return begin, sparse.csr_array((weights[rows, columns], (rows, places[rows, columns] - begin)), shape)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, zero from a distance of 2 on."""
    away = np.abs(distance)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away < 1, near, np.where(away < 2, far, 0.0))
