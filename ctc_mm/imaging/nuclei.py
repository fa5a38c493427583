"""Nuclei in a DAPI image, as a label image (paper imfish-cnn-2022, Image Preprocessing; readings 15-16)."""

from __future__ import annotations

import numpy as np

from ctc_mm.imaging.nuclei_paper import segment_paper
from ctc_mm.imaging.nuclei_robust import NUCLEUS_HALO_PX, segment_robust
from ctc_mm.imaging.nucleus_levels import NucleusLevels, NucleusLevelsPass, check_pixels, measure_nucleus_levels

__all__ = [
    "NUCLEUS_HALO_PX",
    "NucleusLevels",
    "NucleusLevelsPass",
    "measure_nucleus_levels",
    "segment_nuclei",
    "segment_nucleus_tile",
]

METHODS = ("robust", "paper", "learned")


def segment_nuclei(
    image: np.ndarray,
    method: str = "robust",
    *,
    levels: NucleusLevels | None = None,
    origin_xy: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Find the nuclei of a DAPI image.

    Args:
        image: DAPI channel (H, W), uint8, uint16 or float, nuclei bright; a whole field or a tile of one.
        method: ``robust`` for real images; ``paper`` as printed in imfish-cnn-2022, for comparison; ``learned`` by a
            small network.
        levels: levels of the whole field where ``image`` is a tile of it (``measure_nucleus_levels``,
            ``NucleusLevelsPass``); None measures those of ``image``. The paper's method takes none, the
            learned one its own (``nuclei_net.NetLevels``).
        origin_xy: where the tile's top left pixel lies in the field.

    Returns:
        int32 (H, W), 0 background, nuclei 1..N in the order of their first pixel, row by row.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, an unknown method, a tile outside the field of ``levels``.
        TypeError: pixels of another type.
    """
    image = np.ascontiguousarray(image)
    check_pixels(image)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}. Received: {method!r}")
    if method == "paper":
        return segment_paper(image)
    if method == "learned":
        from ctc_mm.imaging import nuclei_net

        return nuclei_net.segment(image, levels=levels, origin_xy=origin_xy)
    levels = levels or measure_nucleus_levels(image)
    _check_place(image, levels, origin_xy)
    return segment_robust(image, levels, origin_xy)[0]


def segment_nucleus_tile(
    image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nuclei of a tile by the robust method, and say which of them the tile's edges may have changed.

    A settled nucleus is, pixel by pixel, the one found in the whole field. All nuclei that lie in one group of touching
    ones are settled or none; read a larger tile for those that are not. Tiles start at multiples of 64 px.

    Args:
        image: the tile's DAPI channel (H, W), uint8, uint16 or float.
        levels: of the whole field.
        origin_xy: where the tile's top left pixel lies in the field.

    Returns:
        Labels as of ``segment_nuclei``; for 0..N whether the object is settled, bool (N + 1,).

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, a tile outside the field of ``levels``.
        TypeError: pixels of another type.
    """
    image = np.ascontiguousarray(image)
    check_pixels(image)
    _check_place(image, levels, origin_xy)
    return segment_robust(image, levels, origin_xy)


def _check_place(image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int]) -> None:
    ends = (origin_xy[0] + image.shape[1], origin_xy[1] + image.shape[0])
    if min(origin_xy) < 0 or ends[0] > levels.size_wh[0] or ends[1] > levels.size_wh[1]:
        raise ValueError(
            f"a tile must lie inside the field of its levels (width, height {levels.size_wh}). Received: "
            f"{image.shape[1]} x {image.shape[0]} px at x, y {tuple(origin_xy)}"
        )
