"""Fit the rule that puts the basins of a nucleus together (ctc_mm/imaging/nuclei_merge.py) to labelled images.

Every pair of neighbouring basins of the training images is one example: one nucleus, if both lie for the most part in
the same true nucleus. A logistic regression on six measures gives the weights. How well they hold elsewhere is told by
leaving out each source of images in turn: BBBC039, and for DSB2018 each size of image (its microscopes differ in it).

example: python benchmarks/fit_nucleus_merge.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from imaging_nuclei import NUCLEUS_SETS, TruthImage, read_truth_images
from sklearn.linear_model import LogisticRegression

from ctc_mm.cli import progress, run_cli
from ctc_mm.evaluation.functional.instances import match_instances, summarise_instances
from ctc_mm.imaging import nuclei_merge
from ctc_mm.imaging.nuclei import segment_nuclei
from ctc_mm.imaging.nuclei_merge import MEASURES, measure_pair, regions_of
from ctc_mm.imaging.nuclei_robust import find_crowded_basins
from ctc_mm.imaging.nucleus_levels import measure_nucleus_levels

Examples = tuple[np.ndarray, np.ndarray]


def examples_of(image: np.ndarray, truth: np.ndarray) -> Examples:
    """Measures of every pair of neighbouring basins, float64 (P, 6), and whether both are one nucleus, bool (P,)."""
    pixels, basin, basins = find_crowded_basins(image, measure_nucleus_levels(image))
    owner = _owners(basin, truth.ravel()[pixels])
    regions = regions_of(basins)
    measures, is_one = [np.empty((0, len(MEASURES)))], [np.empty(0, bool)]
    for (first, second), border in zip(basins.pairs.tolist(), basins.borders.tolist(), strict=True):
        if owner[first] or owner[second]:
            measures.append(np.array([measure_pair(regions[first], regions[second], tuple(border))]))
            is_one.append(np.array([owner[first] == owner[second]]))
    return np.concatenate(measures), np.concatenate(is_one)


def _owners(basin: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The true object that covers more than half of each basin, 0 for none."""
    size = int(basin.max(initial=0)) + 1
    owner = np.zeros(size, np.int64)
    area = np.bincount(basin, minlength=size)
    pairs, shared = np.unique(np.stack([basin, truth]), axis=1, return_counts=True)
    most = (pairs[1] > 0) & (2 * shared > area[pairs[0]])
    owner[pairs[0, most]] = pairs[1, most]
    return owner


def fit(examples: Sequence[Examples]) -> tuple[tuple[float, ...], float]:
    """Weights of the measures and bias of a logistic regression (L2, C = 1, on standardised measures)."""
    measures, is_one = (np.concatenate(column) for column in zip(*examples, strict=True))
    mean, spread = measures.mean(axis=0), measures.std(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((measures - mean) / spread, is_one)
    weights = model.coef_[0] / spread
    return tuple(float(w) for w in weights), float(model.intercept_[0] - weights @ mean)


def f1_with(weights: tuple[float, ...], bias: float, images: Sequence[TruthImage]) -> tuple[float, float]:
    """F1 at IoU 0.5 (objects pooled) and count error with these weights in place of the package's."""
    kept = nuclei_merge.WEIGHTS, nuclei_merge.BIAS
    nuclei_merge.WEIGHTS, nuclei_merge.BIAS = weights, bias
    try:
        matches = [match_instances(segment_nuclei(item.image), item.truth, 0.5, 28) for item in images]
    finally:
        nuclei_merge.WEIGHTS, nuclei_merge.BIAS = kept
    summary = summarise_instances(matches)
    return summary.counts.f1, summary.count_error


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the sets of nuclei")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    images = [item for name in NUCLEUS_SETS for item in read_truth_images(args.data, name)]
    examples = [examples_of(item.image, item.truth) for item in progress(images, "measure pairs")]
    weights, bias = fit(examples)
    print("WEIGHTS =", tuple(round(w, 2) for w in weights), "BIAS =", round(bias, 2))
    sources = sorted({item.source for item in images})
    for source in progress(sources, "leave one source out"):
        others = [e for item, e in zip(images, examples, strict=True) if item.source != source]
        held_out = [item for item in images if item.source == source]
        apart, seen = f1_with(*fit(others), held_out), f1_with(weights, bias, held_out)
        print(
            f"{source:24s} {len(held_out):3d} images   held out: F1 {apart[0]:.4f} count error {apart[1]:.3f}   "
            f"all sources: F1 {seen[0]:.4f} count error {seen[1]:.3f}"
        )


if __name__ == "__main__":
    sys.exit(run_cli(main))
