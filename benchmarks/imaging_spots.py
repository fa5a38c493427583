"""Spots beside scikit-image's ``blob_log`` and a Laplacian of Gaussian with a threshold on its noise, in one run.

Called by imaging.py; the numbers stand in docs/results/imaging.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import markdown_table
from scipy import ndimage
from skimage.feature import blob_log

from ctc_mm.evaluation.functional.points import match_points, score_points
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.spots import find_spots

RADIUS_PX = 3.0
ROUNDS = 5
DATASETS = ("dataset1", "dataset2")
NOISE = "fields_of_noise_with_a_spot"
NOISE_SIDES_PX, NOISE_FIELDS = (64, 256, 1024), (300, 200, 30)

Finder = Callable[[np.ndarray], np.ndarray]


def log_mad(image: np.ndarray, sigma_px: float = 1.4, deviations: float = 5.0) -> np.ndarray:
    """Maxima of a Laplacian of Gaussian above five robust deviations of it: (N, 2), y, x."""
    response = -ndimage.gaussian_laplace(image.astype(np.float32), sigma_px)
    limit = deviations * 1.4826 * np.median(np.abs(response - np.median(response)))
    return np.argwhere((response == ndimage.maximum_filter(response, 3)) & (response > limit))


def skimage_blob_log(image: np.ndarray) -> np.ndarray:
    """scikit-image's multi-scale Laplacian of Gaussian with its own threshold, on the image stretched to [0, 1]."""
    low, high = float(image.min()), float(image.max())
    stretched = (image - low) / max(high - low, 1e-12)
    return blob_log(stretched, min_sigma=1, max_sigma=3, num_sigma=5, threshold=0.1)[:, :2]


METHODS: dict[str, Finder] = {"ctc_mm": find_spots, "log_mad": log_mad, "skimage_blob_log": skimage_blob_log}


def benchmark_spots(data: Path) -> dict[str, Any]:
    """F1 at 3 px, count error and time on the shared spots, and false alarms on noise.

    Args:
        data: folder that holds ``spots_deepspot``.

    Raises:
        FileNotFoundError: a data set is not there.
    """
    results: dict[str, Any] = {name: compare(data / "spots_deepspot" / name) for name in DATASETS}
    results[NOISE] = false_alarms()
    return results


def compare(folder: Path) -> dict[str, dict[str, float | int]]:
    """Each method's score and milliseconds an image (median image, fastest of the rounds) on one data set."""
    paths = sorted((folder / "images").glob("*.png"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no images of spots; give the folder of the shared images")
    matches: dict[str, list] = {name: [] for name in METHODS}
    times_ms: dict[str, list[float]] = {name: [] for name in METHODS}
    for path in paths:
        image = read_image(path)
        truth_yx = np.loadtxt(folder / "spots_yx" / f"{path.stem}.csv", delimiter=",", skiprows=1, ndmin=2)
        for name, find in METHODS.items():
            spots, fastest_ms = run_timed(find, image)
            matches[name].append(match_points(spots[:, :2], truth_yx.reshape(-1, 2), RADIUS_PX))
            times_ms[name].append(fastest_ms)
    return {name: score_points(matches[name]).to_dict() | {"ms": float(np.median(times_ms[name]))} for name in METHODS}


def run_timed(find: Finder, image: np.ndarray) -> tuple[np.ndarray, float]:
    """What a method finds, and its fastest milliseconds of some rounds (others may be using the machine)."""
    fastest_s = np.inf
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        spots = find(image)
        fastest_s = min(fastest_s, time.perf_counter() - start_s)
    return spots, 1e3 * fastest_s


NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "gaussian": lambda rng, side: rng.normal(100, 7, (side, side)).astype(np.float32),
    "8-bit": lambda rng, side: rng.normal(60, 6, (side, side)).round().clip(0, 255).astype(np.uint8),
    "poisson, mean 100": lambda rng, side: rng.poisson(100, (side, side)).astype(np.uint16),
    "poisson, mean 1": lambda rng, side: rng.poisson(1, (side, side)).astype(np.uint16),
    "poisson on a gradient": lambda rng, side: rng.poisson(np.linspace(30, 400, side), (side, side)).astype(np.uint16),
    "blurred": lambda rng, side: cv2.GaussianBlur(rng.normal(100, 50, (side, side)), (0, 0), 1),
}


def false_alarms() -> dict[str, dict[str, int]]:
    """Fields of pure noise in which anything is found, by kind of noise, with their number under ``of``."""
    found = {}
    for kind, make in NOISES.items():
        hits = [
            len(find_spots(make(np.random.default_rng([side, seed]), side))) > 0
            for side, count in zip(NOISE_SIDES_PX, NOISE_FIELDS, strict=True)
            for seed in range(count)
        ]
        found[kind] = {"fields": sum(hits), "of": len(hits)}
    return found


def spots_markdown(result: dict[str, Any]) -> str:
    """What ``benchmark_spots`` found, as Markdown."""
    rows = [
        (
            name,
            method,
            f"{one['f1']:.3f}",
            f"{one['precision']:.3f} / {one['recall']:.3f}",
            f"{one['count_mae']:.1f}",
            f"{one['ms']:.1f}",
        )
        for name in DATASETS
        for method, one in result[name].items()
    ]
    table = markdown_table(("images", "method", "F1 at 3 px", "precision / recall", "count MAE", "ms"), rows)
    alarms = ", ".join(f"{kind} {one['fields']}/{one['of']}" for kind, one in result[NOISE].items())
    return f"{table}\n\nFields of pure noise with a spot: {alarms}."
