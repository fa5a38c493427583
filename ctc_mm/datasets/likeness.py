"""Whether two images show the same cell: turned, mirrored, re-encoded, rescaled, brighter, but the same picture.

Two steps. The *coarse* likeness compares the low frequencies (a cosine transform, high frequencies weighted up), in all
eight positions that turns by 90 degrees and mirroring give. Cells of one kind look alike there: red blood cells, or
nuclei in DAPI. So pairs that pass it are compared in their *fine* grain, what is left after smoothing, at the same
local contrast everywhere: a copy shares the noise of its picture, another cell does not, however alike the two are.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.formats.cell_set import read_cell_image

# Coarse: side that images are brought to, and how many frequencies along each axis are compared.
THUMB_PX, FREQUENCIES = 32, 16
# Likeness of a copy. In small crops the outline of a cell is all there is, and cells of one size agree in it: from 64
# px of side down to 32 px more is asked for. Measured: docs/guides/cells.md.
LEAST_COARSE, LEAST_COARSE_SMALL = 0.9, 0.95
LARGE_PX, SMALL_PX = 64, 32
# Fine: most pixels along a side; smoothing that leaves the grain; width of "locally"; correlation of a copy.
FINE_PX, GRAIN_PX, LOCAL_PX, LEAST_FINE = 64, 1.0, 3.0, 0.28
# In small images chance agrees more, the more so where a few bright spots are all there is: at least this over the
# side, in pixels.
LEAST_FINE_PX = 9.0
# Smaller images have too few pixels to be told apart but for equality.
LEAST_SIDE_PX = 12
_POSITIONS = 8
_BLOCK = 1024
_CANDIDATES = 4096

MayMatch = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ROW, _COLUMN = np.mgrid[:FREQUENCIES, :FREQUENCIES]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        digest: of its pixel values, wherever they lie, so the same in all eight positions; None for an image of one
            grey value.
        coarse: float32 (frequencies, frequencies) of length 1; None where only the digest tells.
        side_px: the shorter one.
    """

    digest: bytes | None
    coarse: np.ndarray | None
    side_px: int


@dataclass(frozen=True)
class Match:
    """Two images that show the same.

    Attributes:
        first: place of one of them.
        second: place of the other, which comes later.
        likeness: correlation of their fine grain; 1 for equal pixels.
        is_exact: whether their pixels are equal, in one of the eight positions.
    """

    first: int
    second: int
    likeness: float
    is_exact: bool


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Take the fingerprint of an image.

    Args:
        image: (H, W) or (H, W, C), any integer or float type, finite; channels are averaged for the coarse part.
    """
    if image.size == 0 or image.min() == image.max():
        return Fingerprint(None, None, min(image.shape[:2]))
    digest = _digest(image)
    grey = _grey(image)
    if min(grey.shape) < LEAST_SIDE_PX:
        return Fingerprint(digest, None, min(grey.shape))
    is_larger = min(grey.shape) >= THUMB_PX
    thumb = cv2.resize(grey, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR)
    waves = cv2.dct(thumb - thumb.mean())[:FREQUENCIES, :FREQUENCIES] * np.hypot(_ROW, _COLUMN)
    length = float(np.linalg.norm(waves))
    return Fingerprint(digest, (waves / length).astype(np.float32) if length > 0 else None, min(grey.shape))


def find_matches(prints: Sequence[Fingerprint], paths: Sequence[Path], may_match: MayMatch) -> list[Match]:
    """Find all pairs of images that show the same.

    Args:
        prints: fingerprints, (N,).
        paths: their files, (N,); those that look alike are read again.
        may_match: told two arrays of places, which of these pairs to look at, bool of the same length.

    Returns:
        The pairs by their places; 14,000 images take about half a minute on one core, most of it reading them.
    """
    exact = _exact_matches(prints, paths, may_match)
    known = {(one.first, one.second) for one in exact}
    grains = _Grains(paths)
    found = []
    for first, second, position in _coarse_matches(prints, may_match):
        if (first, second) not in known:
            likeness, least = grains.compare(first, second, position)
            if likeness >= least:
                found.append(Match(first, second, round(likeness, 3), False))
    return sorted([*exact, *found], key=lambda one: (one.first, one.second))


def fine_likeness(first: np.ndarray, second: np.ndarray, position: int) -> tuple[float, float]:
    """Correlate the grain of two grey images, the second one turned.

    Args:
        first: float32 (H, W).
        second: float32 (H', W').
        position: 0 to 7, as in the coarse comparison.

    Returns:
        Correlation, and the least one that is no chance in so few pixels.
    """
    second = _positions(second)[position]
    height, width = _fine_shape(min(first.shape[0], second.shape[0]), min(first.shape[1], second.shape[1]))
    grains = [_grain(_resize(image, (height, width))) for image in (first, second)]
    return float((grains[0] * grains[1]).sum()), _least_fine(height, width)


class _Grains:
    """Grain of images by their place; each is read once, as long as its partners are of its size."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.grey = functools.lru_cache(maxsize=512)(lambda place: _grey(read_cell_image(paths[place])))
        self.grain = functools.lru_cache(maxsize=None)(self._of_own_size)

    def _of_own_size(self, place: int) -> np.ndarray:
        image = self.grey(place)
        return _grain(_resize(image, _fine_shape(*image.shape)))

    def compare(self, first: int, second: int, position: int) -> tuple[float, float]:
        """As :func:`fine_likeness`, by places."""
        one, other = self.grain(first), _positions(self.grain(second))[position]
        if one.shape != other.shape:
            return fine_likeness(self.grey(first), self.grey(second), position)
        return float(np.einsum("ij,ij->", one, other)), _least_fine(*one.shape)


def _fine_shape(height: int, width: int) -> tuple[int, int]:
    return min(height, FINE_PX), min(width, FINE_PX)


def _least_fine(height: int, width: int) -> float:
    return max(LEAST_FINE, LEAST_FINE_PX / math.sqrt(height * width))


def _exact_matches(prints: Sequence[Fingerprint], paths: Sequence[Path], may_match: MayMatch) -> list[Match]:
    by_digest: dict[bytes, list[int]] = {}
    for place, one in enumerate(prints):
        if one.digest is not None:
            by_digest.setdefault(one.digest, []).append(place)
    matches = []
    for places in by_digest.values():
        for at, first in enumerate(places[:-1]):
            later = np.array(places[at + 1 :])
            wanted = later[may_match(np.full(len(later), first), later)]
            image = read_cell_image(paths[first]) if len(wanted) else None
            # The same values may lie in other places.
            equal = [int(place) for place in wanted if _is_turned(image, read_cell_image(paths[place]))]
            matches += [Match(first, second, 1.0, True) for second in equal]
    return matches


def _is_turned(image: np.ndarray, other: np.ndarray) -> bool:
    return any(np.array_equal(image, turned) for turned in _positions(other))


def _coarse_matches(prints: Sequence[Fingerprint], may_match: MayMatch) -> Iterator[tuple[int, int, int]]:
    """Places of pairs whose low frequencies agree in some position, and that position."""
    places = np.array([place for place, one in enumerate(prints) if one.coarse is not None], np.int64)
    if len(places) < 2:
        return
    waves = np.stack([prints[place].coarse for place in places])
    sides = np.array([prints[place].side_px for place in places])
    # Turns and mirrors change signs and exchange axes only: what neither changes is no farther apart than the images
    # themselves in their best position, so nothing is missed by looking at it first.
    sizes = np.abs(waves)
    fixed = np.where(_ROW <= _COLUMN, np.maximum(sizes, sizes.swapaxes(1, 2)), np.minimum(sizes, sizes.swapaxes(1, 2)))
    fixed = fixed.reshape(len(places), -1)
    for start in range(0, len(places), _BLOCK):
        likeness = fixed[start : start + _BLOCK] @ fixed[start:].T
        first, second = np.nonzero(likeness >= LEAST_COARSE - 1e-5)
        first, second = first + start, second + start
        wanted = first < second
        first, second = first[wanted], second[wanted]
        wanted = may_match(places[first], places[second])
        first, second = first[wanted], second[wanted]
        for at in range(0, len(first), _CANDIDATES):
            one, other = first[at : at + _CANDIDATES], second[at : at + _CANDIDATES]
            likeness, position = _in_best_position(waves[one], waves[other])
            alike = likeness >= _least_coarse(np.minimum(sides[one], sides[other]))
            columns = (places[one], places[other], position)
            yield from zip(*(column[alike].tolist() for column in columns), strict=True)


def _in_best_position(waves: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well pairs of images agree if the second is turned as fits best, and how that is, (N,) each."""
    likeness = np.stack([np.einsum("nij,nij->n", waves, turned) for turned in _turned_waves(others)])
    return likeness.max(axis=0), likeness.argmax(axis=0)


def _least_coarse(side_px: np.ndarray) -> np.ndarray:
    return np.interp(side_px, (SMALL_PX, LARGE_PX), (LEAST_COARSE_SMALL, LEAST_COARSE))


def _turned_waves(waves: np.ndarray) -> list[np.ndarray]:
    """Low frequencies of images (N, F, F) in eight positions, in the order of :func:`_positions`."""
    rows, columns = ((-1.0) ** axis for axis in (_ROW.astype(np.float32), _COLUMN.astype(np.float32)))
    signs = [np.float32(1), columns, rows, rows * columns]
    return [base * sign for base in (waves, waves.swapaxes(1, 2)) for sign in signs]


def _positions(image: np.ndarray) -> list[np.ndarray]:
    """An image in its eight positions: as it is, mirrored, flipped, both; then the same of its transpose."""
    bases = (image, np.swapaxes(image, 0, 1))
    return [base[::down, ::across] for base in bases for down in (1, -1) for across in (1, -1)]


def _digest(image: np.ndarray) -> bytes:
    head = f"{image.dtype.name}{sorted(image.shape[:2])}{image.shape[2:]}".encode()
    return hashlib.blake2b(head + np.sort(image, axis=None).tobytes(), digest_size=16).digest()


def _grey(image: np.ndarray) -> np.ndarray:
    """float32 (H, W), contrast 1: the mean of the channels, each scaled by what the brightest of them reaches."""
    grey = image.astype(np.float32)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    spread = float(grey.std())
    return (grey - grey.mean()) / spread if spread > 0 else grey * 0


def _resize(image: np.ndarray, shape_hw: tuple[int, int]) -> np.ndarray:
    image = np.ascontiguousarray(image)
    return image if image.shape == shape_hw else cv2.resize(image, shape_hw[::-1], interpolation=cv2.INTER_AREA)


def _grain(image: np.ndarray) -> np.ndarray:
    """What smoothing takes away, at one local contrast (a bright spot counts no more than its place), of length 1."""
    fine = image - cv2.GaussianBlur(image, (0, 0), GRAIN_PX)
    local = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), LOCAL_PX))
    fine /= local + np.float32(0.1) * fine.std() + np.float32(1e-9)
    fine -= fine.mean()
    length = float(np.linalg.norm(fine))
    return fine / length if length > 0 else fine
