"""Gaussians fitted to spots, many at a time; touching spots are told apart by whether two fit better than one.

Each spot is fitted in a disc of pixels of its own, after its neighbours' light is taken away, so the outcome depends on
what lies near alone, and the cost grows with the number of spots.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

# Radius of a fit's disc over the sigma of the spots looked for.
_RADIUS_PER_SIGMA = 3.5
# Limits of a fitted sigma: pixels, and over that of the spots looked for.
_NARROWEST_PX, _WIDEST = 0.3, 4.0
# Steps of Levenberg and Marquardt (Press et al., Numerical Recipes, section 15.5), which start near the goal.
_STEPS_FIRST, _STEPS_CLEANED, _STEPS_MORE, _STEPS_PAIR = 2, 2, 4, 8
# Change of sigma, over itself, that shows that the goal is still far.
_UNSETTLED = 0.1
# Where parameters stand: background, sigma, then amplitude, y, x of each Gaussian.
BACKGROUND, SIGMA, AMPLITUDE, Y, X = range(5)
AMPLITUDE_2, Y_2, X_2 = range(5, 8)


class Discs:
    """The pixels around each of some spots.

    Attributes:
        radius_px: of a disc.
        dy: rows of the disc's pixels from its middle, float32 (P,); ``dx`` the columns.
        unit: grey values that count as 1 in this disc, so that float32 will do whatever the image's scale, (N,).
        pixels: height above the disc's lower quartile in that unit, float32 (N, P).
        weights: 1 inside the image, 0 beyond its edge, float32 (N, P).
    """

    def __init__(self, image: np.ndarray, ys: np.ndarray, xs: np.ndarray, sigma_px: float) -> None:
        self.sigma_px, self.radius_px = sigma_px, disc_radius_px(sigma_px)
        axis = np.arange(-self.radius_px, self.radius_px + 1)
        inside = axis[:, None] ** 2 + axis**2 <= (self.radius_px + 0.25) ** 2
        self.dy, self.dx = ((places - self.radius_px).astype(np.float32) for places in np.nonzero(inside))
        rows, columns = ys[:, None] + self.dy.astype(np.intp), xs[:, None] + self.dx.astype(np.intp)
        inner_rows, inner_columns = np.clip(rows, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)
        self.weights = ((rows == inner_rows) & (columns == inner_columns)).astype(np.float32)
        pixels = image[inner_rows, inner_columns]
        quarter = len(self.dy) // 4
        height = pixels - np.partition(pixels, quarter, axis=1)[:, quarter, None]
        self.unit = np.maximum(np.abs(height).max(axis=1, initial=0), np.finfo(np.float32).tiny)
        self.pixels = height / self.unit[:, None]

    def fit(self, pixels: np.ndarray, weights: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
        """Least squares by Levenberg and Marquardt, all discs at once, in a fixed number of steps.

        Args:
            pixels: what to explain, in the discs' units, float32 (N, P).
            weights: float32 (N, P).
            start: parameters to start from, float64 (N, K).
            steps: how often the parameters are improved.

        Returns:
            Parameters, float64 (N, K).
        """
        if not len(start):
            return start
        now, damping, diagonal = start, np.full(len(start), 0.01), np.arange(start.shape[1])
        low, high = self._limits((start.shape[1] - AMPLITUDE) // 3)
        shapes = gaussians(now, self.dy, self.dx)
        rest = weights * (pixels - light_of(now, shapes))
        misfit = (rest * rest).sum(axis=1)
        for _ in range(steps):
            slopes = slopes_of(now, shapes, self.dy, self.dx) * weights[:, None]
            normal = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
            gradient = (slopes @ rest[..., None]).astype(np.float64)
            normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * (1 + damping[:, None]) + 1e-12
            trial = np.minimum(np.maximum(now + np.linalg.solve(normal, gradient)[..., 0], low), high)
            trial_shapes = gaussians(trial, self.dy, self.dx)
            trial_rest = weights * (pixels - light_of(trial, trial_shapes))
            trial_misfit = (trial_rest * trial_rest).sum(axis=1)
            worse = np.flatnonzero(trial_misfit >= misfit)
            for kept, new in ((now, trial), (shapes, trial_shapes), (rest, trial_rest), (misfit, trial_misfit)):
                new[worse] = kept[worse]
            now, shapes, rest, misfit = trial, trial_shapes, trial_rest, trial_misfit
            damping *= 0.3
            damping[worse] *= 10 / 0.3
        return now

    def _limits(self, gaussians: int) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value of each parameter, float64 (K,) each."""
        far = float(self.radius_px)
        low = [-np.inf, _NARROWEST_PX] + [0.0, -far, -far] * gaussians
        high = [np.inf, _WIDEST * self.sigma_px] + [np.inf, far, far] * gaussians
        return np.array(low), np.array(high)


def disc_radius_px(sigma_px: float) -> int:
    """Radius in pixels of a fit's disc."""
    return math.ceil(_RADIUS_PER_SIGMA * sigma_px)


def gaussians(parameters: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Gaussians of height 1 at places (P,) or (N, P) from the middle; float32 (N, Gaussians, P)."""
    parameters = parameters.astype(np.float32)
    centres = parameters[:, AMPLITUDE:].reshape(len(parameters), (parameters.shape[1] - AMPLITUDE) // 3, 3)
    dy, dx = (np.atleast_2d(places)[:, None] for places in (dy, dx))
    square = (dy - centres[:, :, 1:2]) ** 2 + (dx - centres[:, :, 2:3]) ** 2
    return np.exp(square * (-0.5 / parameters[:, SIGMA, None, None] ** 2))


def light_of(parameters: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Background and Gaussians together, float32 (N, P)."""
    parameters = parameters.astype(np.float32)
    values = parameters[:, BACKGROUND, None] + parameters[:, AMPLITUDE, None] * shapes[:, 0]
    for k in range(1, shapes.shape[1]):
        values += parameters[:, AMPLITUDE + 3 * k, None] * shapes[:, k]
    return values


def slopes_of(parameters: np.ndarray, shapes: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Derivatives of ``light_of`` by each parameter, float32 (N, K, P)."""
    parameters = parameters.astype(np.float32)
    slopes = np.empty((len(parameters), parameters.shape[1], shapes.shape[2]), np.float32)
    slopes[:, BACKGROUND] = 1
    slopes[:, SIGMA] = 0
    sigma = parameters[:, SIGMA, None]
    for k in range(shapes.shape[1]):
        amplitude, y, x = (parameters[:, AMPLITUDE + 3 * k + j, None] for j in range(3))
        to_y, to_x, light = dy - y, dx - x, shapes[:, k] * (amplitude / sigma**2)
        slopes[:, AMPLITUDE + 3 * k] = shapes[:, k]
        slopes[:, Y + 3 * k] = light * to_y
        slopes[:, X + 3 * k] = light * to_x
        slopes[:, SIGMA] += (slopes[:, Y + 3 * k] * to_y + slopes[:, X + 3 * k] * to_x) / sigma
    return slopes


def misfit(discs: Discs, pixels: np.ndarray, weights: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Weighted sum of squared differences between pixels and model, float32 (N,)."""
    return (weights * (pixels - light_of(parameters, gaussians(parameters, discs.dy, discs.dx))) ** 2).sum(axis=1)


def explained(discs: Discs, pixels: np.ndarray, weights: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Share of the pixels' variance that the model accounts for, float32 (N,)."""
    mean = (weights * pixels).sum(axis=1) / weights.sum(axis=1)
    spread = (weights * (pixels - mean[:, None]) ** 2).sum(axis=1)
    return 1 - misfit(discs, pixels, weights, parameters) / np.maximum(spread, 1e-30)


def fit_singles(discs: Discs, ys: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One Gaussian for each spot.

    Args:
        discs: the spots' pixels.
        ys: rows of the discs' middles, int (N,).
        xs: columns.

    Returns:
        Parameters in the discs' units, float64 (N, 5), and the pixels without the light of other spots, float32 (N, P).
    """
    of, by = _neighbours(ys, xs, 2 * discs.radius_px)
    near_dy, near_dx = (
        places - (at[by] - at[of])[:, None].astype(np.float32) for places, at in ((discs.dy, ys), (discs.dx, xs))
    )
    # First without the pixels that are nearer to a neighbour ...
    weights = discs.weights.copy()
    np.minimum.at(weights, of, (near_dy**2 + near_dx**2 >= discs.dy**2 + discs.dx**2).astype(np.float32))
    middle = discs.pixels[:, np.flatnonzero((discs.dy == 0) & (discs.dx == 0))[0]]
    start = np.zeros((len(ys), 5))
    start[:, SIGMA], start[:, AMPLITUDE] = discs.sigma_px, np.maximum(middle, 0)
    parameters = discs.fit(discs.pixels, weights, start, _STEPS_FIRST)
    # ... then with all of them, and the neighbours' light taken away.
    light = parameters[by]
    light[:, BACKGROUND] = 0
    light[:, AMPLITUDE] *= discs.unit[by] / discs.unit[of]
    cleaned = discs.pixels.copy()
    np.subtract.at(cleaned, of, light_of(light, gaussians(light, near_dy, near_dx)))
    before, parameters = parameters, discs.fit(cleaned, discs.weights, parameters, _STEPS_CLEANED)
    change = np.abs(parameters[:, SIGMA] - before[:, SIGMA])
    # Where no step helped, they were too long; more of them are tried shorter.
    far = np.flatnonzero((change > _UNSETTLED * before[:, SIGMA]) | (change == 0))
    parameters[far] = discs.fit(cleaned[far], discs.weights[far], parameters[far], _STEPS_MORE)
    return parameters, cleaned


def _neighbours(ys: np.ndarray, xs: np.ndarray, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs of spots at most ``reach_px`` apart, by the first, then the second; int (M,) each."""
    pairs = cKDTree(np.stack([ys, xs], axis=1)).query_pairs(reach_px, output_type="ndarray").reshape(-1, 2)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return both[:, 0], both[:, 1]


def elongation(discs: Discs, cleaned: np.ndarray, single: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of a single Gaussian's misfit comes from being longer than wide.

    Returns:
        Part of the misfit (squared units) and the long axis' angle from the y axis, float64 (N,) each.
    """
    shapes = gaussians(single, discs.dy, discs.dx)
    rest = (cleaned - light_of(single, shapes)) * discs.weights
    to_y, to_x = discs.dy - single[:, Y, None].astype(np.float32), discs.dx - single[:, X, None].astype(np.float32)
    parts = []
    for pattern in (to_y**2 - to_x**2, 2 * to_y * to_x):
        mode = shapes[:, 0] * discs.weights * pattern
        parts.append((mode * rest).sum(axis=1) / np.sqrt((mode**2).sum(axis=1) + np.float32(1e-30)))
    return parts[0] ** 2 + parts[1] ** 2, 0.5 * np.arctan2(parts[1], parts[0])


def fit_pairs(
    discs: Discs, cleaned: np.ndarray, single: np.ndarray, angle: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussians of equal width in place of one, for some of the spots.

    Args:
        discs: the spots' pixels.
        cleaned: those pixels without other spots' light (N, P).
        single: the fit of one Gaussian (N, 5).
        angle: direction from the y axis along which the two are looked for (N,).
        which: indices of the spots to fit, (M,).

    Returns:
        Parameters (M, 8); drop of the misfit over what is left a degree of freedom (M,), which noise seldom lifts above
        20.
    """
    one, pixels, weights = single[which], cleaned[which], discs.weights[which]
    start = np.concatenate([one, one[:, AMPLITUDE:]], axis=1)
    step = np.stack([np.cos(angle[which]), np.sin(angle[which])], axis=1) * one[:, SIGMA, None]
    start[:, [Y, X]] += step
    start[:, [Y_2, X_2]] -= step
    start[:, [AMPLITUDE, AMPLITUDE_2]] *= 0.65
    start[:, SIGMA] *= 0.8
    two = discs.fit(pixels, weights, start, _STEPS_PAIR)
    left = misfit(discs, pixels, weights, two)
    drop = misfit(discs, pixels, weights, one) - left
    freedom = np.maximum(weights.sum(axis=1) - two.shape[1], 1)
    return two, drop / np.maximum(left / freedom, 1e-30)
