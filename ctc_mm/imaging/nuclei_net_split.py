"""From the nucleus network's maps to nuclei: a component of nucleus pixels is as many nuclei as it has deep places.

Depths are compared like heights: two deep places are two nuclei if the way between them leads down by a given amount,
as in the h-maxima of morphology (Soille, Morphological Image Analysis, 2003, 6.3), looked for at a few levels.
"""

from __future__ import annotations

import cv2
import numpy as np

# Depth (0 outline, 1 middle) that a nucleus must reach at its deepest place.
LEAST_PEAK = 0.45
# Levels at which a core may fall into several, and how far above the level each of these must rise.
SPLIT_LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
LEAST_RISE = 0.15
# From its core a nucleus grows down these depths, so that a large neighbour is not cut where a small one is near.
GROWTH_DEPTHS = (0.4, 0.3, 0.2, 0.1, -1.0)
# Pixels that touch by a corner alone are apart.
CONNECTIVITY = 4
# Pixels of the smallest nucleus; one of 6 px across has 28.
MIN_AREA_PX = 20


def label_nuclei(nucleus: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Find nuclei in the maps of a field or tile; each connected component is settled by its own pixels.

    Args:
        nucleus: bool (H, W), whether a pixel belongs to a nucleus.
        depth: float32 (H, W), 0 on a nucleus' outline to 1 in its middle.

    Returns:
        int32 (H, W), 0 background, nuclei 1..N in the order of their first pixel, row by row.
    """
    n_parts, parts, stats, _ = cv2.connectedComponentsWithStats(nucleus.astype(np.uint8), connectivity=CONNECTIVITY)
    cores, part_of_core = find_cores(parts, n_parts, depth)
    cores_in_part = np.bincount(part_of_core[1:], minlength=n_parts)
    core_of_part = np.zeros(n_parts, np.int32)
    core_of_part[part_of_core] = np.arange(len(part_of_core))
    core_of_part[cores_in_part != 1] = 0
    labels = core_of_part[parts]
    for part in np.flatnonzero(cores_in_part > 1):
        x, y, width, height = stats[part, :4]
        window = np.s_[y : y + height, x : x + width]
        mask = parts[window] == part
        grown = grow_cores(np.where(mask, cores[window], 0), depth[window], mask)
        labels[window][mask] = grown[mask]
    return number_by_first_pixel(labels, MIN_AREA_PX)


def find_cores(parts: np.ndarray, n_parts: int, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the place that each nucleus grows from.

    Args:
        parts: int32 (H, W), connected components 1..n_parts - 1, 0 background.
        n_parts: number of components, the background counted.
        depth: float32 (H, W).

    Returns:
        cores, int32 (H, W), 1..K, 0 elsewhere, in no particular order; the component of each, int64 (K + 1,).
    """
    places = np.flatnonzero(parts)
    depths, owners = depth.ravel()[places], parts.ravel()[places]  # of the nuclei's pixels alone, here and below
    part_of_core = np.arange(n_parts)
    for level in SPLIT_LEVELS:
        n_deep, deep_image = cv2.connectedComponents(
            ((depth > level) & (parts > 0)).astype(np.uint8), connectivity=CONNECTIVITY
        )
        deep = deep_image.ravel()[places]
        owner_of_deep = np.zeros(n_deep, np.int64)
        owner_of_deep[deep] = owners
        rises = _peaks(deep, depths, n_deep) >= level + LEAST_RISE
        rises[0] = owner_of_deep[0] = 0
        # A core becomes what it falls into, if that is more than one.
        splits = np.bincount(owner_of_deep[rises], minlength=len(part_of_core)) > 1
        splits[0] = False
        replacement = np.where(rises & splits[owner_of_deep], np.arange(n_deep) + len(part_of_core), 0)
        owners = np.where(splits[owners], replacement[deep], owners)
        part_of_core = np.concatenate([part_of_core, part_of_core[owner_of_deep]])
    used = _peaks(owners, depths, len(part_of_core)) >= LEAST_PEAK
    used[0] = False
    cores = np.zeros(parts.shape, np.int32)
    cores.ravel()[places] = np.where(used, np.cumsum(used), 0)[owners]
    return cores, np.concatenate([[0], part_of_core[used]])


def grow_cores(cores: np.ndarray, depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give every pixel of a mask to one of its cores, the deepest pixels first, each to the nearest.

    Args:
        cores: int32 (h, w), at least one core, 0 elsewhere.
        depth: float32 (h, w).
        mask: bool (h, w), the component that holds the cores.

    Returns:
        int32 (h, w), the cores' numbers on the mask, 0 elsewhere.
    """
    labels = cores
    for least_depth in GROWTH_DEPTHS:
        free = (labels == 0).astype(np.uint8)
        _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        taken = labels > 0
        number_of = np.zeros(int(nearest.max()) + 1, labels.dtype)
        number_of[nearest[taken]] = labels[taken]
        labels = np.where(mask & (taken | (depth > least_depth)), number_of[nearest], 0)
    return labels


def number_by_first_pixel(labels: np.ndarray, min_area_px: int) -> np.ndarray:
    """Number the objects of a label image 1..N in the order of their first pixel, leaving out those that are small."""
    places = np.flatnonzero(labels)
    numbers = labels.ravel()[places]
    size = int(numbers.max()) + 1 if numbers.size else 1
    first = np.full(size, -1, np.int64)
    first[numbers[::-1]] = places[::-1]  # of several writes to one place the last stays
    kept = np.flatnonzero((np.bincount(numbers, minlength=size) >= min_area_px) & (first >= 0))
    new = np.zeros(size, np.int32)
    new[kept[np.argsort(first[kept])]] = np.arange(1, len(kept) + 1)
    return new[labels]


def _peaks(labels: np.ndarray, depths: np.ndarray, size: int) -> np.ndarray:
    """Greatest depth of each label, float32 (size,)."""
    peaks = np.zeros(size, np.float32)
    np.maximum.at(peaks, labels, depths)
    return peaks
