"""The nuclei part of ``imaging.py``: F1, count error and speed on real images beside scikit-image in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown_table

from ctc_mm.cli import progress
from ctc_mm.evaluation.functional.instances import InstanceMatches, match_instances, summarise_instances
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.nuclei import segment_nuclei

NUCLEUS_SETS = {"BBBC039": "nuclei_bbbc039", "DSB2018": "nuclei_dsb2018"}
# True objects under 6 px across are ignored.
IGNORE_UNDER_PX = 28
IOU_THR = 0.5
WORST = 10

Segment = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class TruthImage:
    """An image with its true nuclei: pixels, int32 labels, file stem, and where images like it come from."""

    image: np.ndarray
    truth: np.ndarray
    name: str
    source: str


def read_truth_images(data: Path, set_name: str) -> list[TruthImage]:
    """Read a set's images and labels, sorted by name.

    Raises:
        FileNotFoundError: the set's folder, or an image's labels, are not there.
    """
    folder = data / NUCLEUS_SETS[set_name]
    files = sorted((folder / "images").glob("*.*"))
    if not files:
        raise FileNotFoundError(f"{folder / 'images'}: no images of {set_name} there; give their folder with --data")
    items = []
    for file in files:
        image = read_image(file)
        truth = read_image(folder / "labels" / f"{file.stem}.png").astype(np.int32)
        height, width = image.shape
        items.append(TruthImage(image, truth, file.stem, f"{set_name} {width}x{height}"))
    return items


def segment_skimage(image: np.ndarray) -> np.ndarray:
    """Otsu on the smoothed image, then a watershed on the distance transform, by scikit-image: the method to beat.

    Smoothing, least distance of peaks and least area are chosen so that it scores about what the README of the shared
    data tells of this method (F1 0.908 and 0.745, count error 6 and 27 %).
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import label
    from skimage.segmentation import watershed

    smooth = gaussian(image, 1, preserve_range=True)
    components = label(smooth > threshold_otsu(smooth))
    components[(np.bincount(components.ravel()) < IGNORE_UNDER_PX)[components]] = 0
    distance = gaussian(distance_transform_edt(components > 0), 2)
    peaks = peak_local_max(distance, min_distance=10, labels=components, exclude_border=False)
    markers = np.zeros(image.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=components > 0)


METHODS: dict[str, Segment] = {
    "scikit-image": segment_skimage,
    "paper": lambda image: segment_nuclei(image, "paper"),
    "robust": segment_nuclei,
}


def benchmark_nuclei(data: Path, rounds: int = 3) -> dict[str, Any]:
    """Score and time every method on every set.

    Returns:
        By set: images and megapixels, per method F1 (objects of all images pooled, and mean of the images), count
        error (pooled absolute, and mean of the images), MP/s, speed over scikit-image's, and the worst images.
    """
    return {name: _benchmark_set(read_truth_images(data, name), name, rounds) for name in NUCLEUS_SETS}


def _benchmark_set(items: Sequence[TruthImage], name: str, rounds: int) -> dict[str, Any]:
    seconds = dict.fromkeys(METHODS, 0.0)
    matches: dict[str, list[InstanceMatches]] = {method: [] for method in METHODS}
    for item in progress(items, f"nuclei, {name}"):
        # Methods take turns on each image, so that what else the machine does strikes all alike.
        times = {method: [] for method in METHODS}
        for turn in range(rounds):
            for method, segment in METHODS.items():
                start = time.perf_counter()
                labels = segment(item.image)
                times[method].append(time.perf_counter() - start)
                if turn == 0:
                    matches[method].append(match_instances(labels, item.truth, IOU_THR, IGNORE_UNDER_PX))
        for method in METHODS:
            seconds[method] += min(times[method])
    megapixels = sum(item.image.size for item in items) / 1e6
    speed = {method: megapixels / value for method, value in seconds.items()}
    scores = {
        method: _scores(matches[method], items)
        | {"mp_per_s": round(speed[method], 1), "times_scikit_image": round(speed[method] / speed["scikit-image"], 2)}
        for method in METHODS
    }
    return {"images": len(items), "megapixels": round(megapixels, 2), "methods": scores}


def _scores(matches: Sequence[InstanceMatches], items: Sequence[TruthImage]) -> dict[str, Any]:
    summary = summarise_instances(matches)
    worst = sorted(zip(matches, items, strict=True), key=lambda pair: (pair[0].counts.f1, pair[1].name))[:WORST]
    return {
        "f1": round(summary.counts.f1, 4),
        "f1_mean_of_images": round(summary.f1_mean, 4),
        "count_error": round(summary.count_error, 4),
        "count_error_mean_of_images": round(summary.count_error_mean, 4),
        "tp": summary.counts.tp,
        "fp": summary.counts.fp,
        "fn": summary.counts.fn,
        "worst_images": [
            {"name": item.name, "f1": round(m.counts.f1, 4), "tp": m.counts.tp, "fp": m.counts.fp, "fn": m.counts.fn}
            for m, item in worst
        ],
    }


def nuclei_markdown(result: dict[str, Any]) -> str:
    """What ``benchmark_nuclei`` found, as Markdown."""
    rows = [
        (
            set_name,
            method,
            f"{one['f1']:.3f} / {one['f1_mean_of_images']:.3f}",
            f"{100 * one['count_error']:.1f} %",
            f"{one['mp_per_s']:.1f}",
            f"{one['times_scikit_image']:.1f}",
        )
        for set_name, part in result.items()
        for method, one in part["methods"].items()
    ]
    return markdown_table(("images", "method", "F1 pooled / mean of images", "count error", "MP/s", "speed"), rows)
