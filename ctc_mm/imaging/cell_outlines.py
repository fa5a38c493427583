"""Outlines of round cells: around a centre, the closed path along which the light changes most.

Seen from its centre, a cell's edge changes the light the same way all around (darker inside, or brighter inside), also
where a neighbour touches it; the halo around it changes it the other way. The best closed path through the radial
change of light is found by dynamic programming.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.imaging.cell_centres import FULL_EDGE, Edges

ANGLES = 48
# Radii that an outline may have, over that of the circle that voted for it.
RADII_PER_CIRCLE = np.linspace(0.6, 1.5, 28)
# What a step of one radius from angle to angle costs, in units of the gain of an edge of full strength.
STEP_COST = 0.15
# What a first outline must reach of an edge of full strength, on the mean, to be traced again.
LEAST_FIRST_EDGE = 0.4
# Coordinates are whole 32nds of a pixel, as cv2.remap takes them: a tile's place in the field does not change them.
SUBPIXELS = 32
_GAIN_STEPS = 4096
TURNS = 3
_CHUNK = 512
_NEVER = np.float32(-1e9)
_MOVES = np.array([0, -1, 1], np.int8)


@dataclass(frozen=True, eq=False)
class Outlines:
    """N outlines around N centres.

    Attributes:
        centres_yx: float64 (N, 2).
        radii_px: float64 (N, ANGLES), radius at each angle, from x towards y.
        change: float32 (N, ANGLES), radial change of light on the outline over noise; positive as the polarity says.
        inner_change: float32 (N,), the strongest mean change of light around a ring inside the outline.
        inside: bool (N, ANGLES), which points lie inside the image.
        polarity: int64 (N,), 1: darker inside, -1: brighter inside.
    """

    centres_yx: np.ndarray
    radii_px: np.ndarray
    change: np.ndarray
    inner_change: np.ndarray
    inside: np.ndarray
    polarity: np.ndarray

    def points_xy(self, index: int) -> np.ndarray:
        """Points of one outline, float64 (ANGLES, 2): x, y."""
        y, x = self.centres_yx[index]
        return np.stack([x + self.radii_px[index] * _COSINES, y + self.radii_px[index] * _SINES], axis=1)

    @property
    def areas_px(self) -> np.ndarray:
        """Areas, float64 (N,)."""
        neighbours = np.roll(self.radii_px, -1, axis=1)
        return (self.radii_px * neighbours).sum(axis=1) * np.sin(2 * np.pi / ANGLES) / 2

    @property
    def mean_edges(self) -> np.ndarray:
        """Mean change of light along each outline over that of an edge of full strength, stronger ones cut; (N,)."""
        counted = np.maximum(self.inside.sum(axis=1), 1)
        return np.clip(self.change / FULL_EDGE, -1, 1).sum(axis=1) / counted

    @property
    def centroid_shifts_yx(self) -> tuple[np.ndarray, np.ndarray]:
        """From each centre to the centroid of its outline, along y and x, whole 32nds of a pixel, each float64 (N,)."""
        x, y = self.radii_px * _COSINES, self.radii_px * _SINES
        next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
        cross = x * next_y - next_x * y
        total = 3 * np.maximum(cross.sum(axis=1), 1e-9)
        shifts = (((one + next_one) * cross).sum(axis=1) / total for one, next_one in ((y, next_y), (x, next_x)))
        return tuple(np.rint(shift * SUBPIXELS) / SUBPIXELS for shift in shifts)

    def take(self, indices: np.ndarray) -> Outlines:
        """Choose some of the outlines."""
        return Outlines(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


# Rounded, so that opposite angles are exactly opposite.
_COSINES = np.round(np.cos(np.arange(ANGLES) * (2 * np.pi / ANGLES)), 12)
_SINES = np.round(np.sin(np.arange(ANGLES) * (2 * np.pi / ANGLES)), 12)


def trace_outlines(edges: Edges, centres: np.ndarray) -> Outlines:
    """Trace the outline around each centre.

    Args:
        edges: edges of the image.
        centres: float64 (N, 5) of ``find_centres``; N may be 0.
    """
    parts = [_trace_twice(edges, centres[start : start + _CHUNK]) for start in range(0, max(len(centres), 1), _CHUNK)]
    names = Outlines.__dataclass_fields__
    return Outlines(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _trace_twice(edges: Edges, centres: np.ndarray) -> Outlines:
    """Trace, then again around the middle of what was found: from there an outline is seen without slant."""
    first = _trace(edges, centres)
    hopeful = first.mean_edges >= LEAST_FIRST_EDGE
    centres, first = centres[hopeful], first.take(hopeful)
    shift_y, shift_x = first.centroid_shifts_yx
    y, x = centres[:, 1] + shift_y, centres[:, 2] + shift_x
    return _trace(edges, np.stack([centres[:, 0], y, x, np.sqrt(first.areas_px / np.pi), centres[:, 4]], axis=1))


def _trace(edges: Edges, centres: np.ndarray) -> Outlines:
    y, x, circle, polarity = centres[:, 1], centres[:, 2], centres[:, 3], centres[:, 4]
    radii = circle[:, None] * RADII_PER_CIRCLE
    change, inside = _radial_change(edges, y, x, radii, polarity)
    # Logarithmic: one very strong edge must not pull the whole outline.
    gain = np.sign(change) * np.log1p(np.abs(change) / FULL_EDGE) / np.float32(np.log1p(4))
    # In whole steps, whose sums are exact: a mirrored image has the same best path.
    path = best_closed_paths(np.rint(gain * _GAIN_STEPS), round(STEP_COST * _GAIN_STEPS))
    rows = np.arange(len(centres))[:, None]
    columns = np.arange(ANGLES)[None]
    inner_change, _ = _radial_change(edges, y, x, circle[:, None] * np.linspace(0.2, 0.75, 9), polarity)
    return Outlines(
        centres_yx=np.stack([y, x], axis=1),
        radii_px=radii[rows, path],
        change=change[rows, columns, path],
        inner_change=np.abs(inner_change.mean(axis=1)).max(axis=1, initial=0),
        inside=inside[rows, columns, path],
        polarity=polarity.astype(np.int64),
    )


def _radial_change(
    edges: Edges, y: np.ndarray, x: np.ndarray, radii: np.ndarray, polarity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Change of light outwards over noise, float32 (N, ANGLES, R), 0 outside the image; and what lies inside it."""
    count, steps = radii.shape
    map_x, map_y = (
        (
            centre[:, None, None] + np.rint(radii[:, None, :] * turn[None, :, None] * SUBPIXELS) / SUBPIXELS
        ).astype(np.float32).reshape(count, ANGLES * steps)
        for centre, turn in ((x, _COSINES), (y, _SINES))
    )  # fmt: skip
    height, width = edges.noise.shape
    inside = ((map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)).reshape(count, ANGLES, steps)
    if count == 0:
        return np.zeros((0, ANGLES, steps), np.float32), inside

    def sample(values: np.ndarray) -> np.ndarray:
        taken = cv2.remap(values, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return taken.reshape(count, ANGLES, steps)

    cosines, sines = (turn.astype(np.float32)[None, :, None] for turn in (_COSINES, _SINES))
    change = (sample(edges.along_x) * cosines + sample(edges.along_y) * sines) / sample(edges.noise)
    return np.where(inside, change * polarity.astype(np.float32)[:, None, None], np.float32(0)), inside


def best_closed_paths(gain: np.ndarray, step_cost: float) -> np.ndarray:
    """Find closed paths of high gain around N centres; from angle to angle the radius changes by one step at most.

    The best open path of three turns is found, and its middle turn taken: there the ends do not matter, so that the
    path closes, and comes out the same wherever the first angle is, and whichever way round.

    Args:
        gain: float (N, A, R) at each angle and radius.
        step_cost: what a step of the radius costs.

    Returns:
        int64 (N, A): index of the radius at each angle.
    """
    count, angles, radii = gain.shape
    rows = np.arange(count)
    total = gain[:, 0].astype(np.float32)
    came_from = np.zeros((TURNS * angles, count, radii), np.int8)
    cost = np.array([0, step_cost, step_cost], np.float32)[:, None, None]
    for step in range(1, TURNS * angles):
        padded = np.pad(total, ((0, 0), (1, 1)), constant_values=_NEVER)
        # The straight way first: it is taken where a step would gain nothing.
        choices = np.stack([padded[:, 1:-1], padded[:, :-2], padded[:, 2:]]) - cost
        best = choices.argmax(axis=0)
        came_from[step] = _MOVES[best]
        total = np.take_along_axis(choices, best[None], axis=0)[0] + gain[:, step % angles]
    path = np.zeros((count, TURNS * angles), np.int64)
    path[:, -1] = total.argmax(axis=1)
    for step in range(TURNS * angles - 1, 0, -1):
        path[:, step - 1] = np.clip(path[:, step] + came_from[step, rows, path[:, step]], 0, radii - 1)
    middle = TURNS // 2 * angles
    return path[:, middle : middle + angles]
