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
            ``NucleusLevelsPass``); None measures those of ``image``. The paper's method takes none.
        origin_xy: where the tile's top left pixel lies in the field.

    Returns:
        int32 (H, W), 0 background, nuclei 1..N in the order of their first pixel, row by row.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, an unknown method, a tile outside the field of ``levels``.
        TypeError: pixels of another type.
    """
    image = np.asarray(image)
    check_pixels(image)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}. Received: {method!r}")
    if method == "paper":
        return segment_paper(image)
    if method == "learned":
        from ctc_mm.imaging import nuclei_net

        return nuclei_net.segment(image, levels=levels, origin_xy=origin_xy)
    return segment_robust(image, levels or measure_nucleus_levels(image), origin_xy)
