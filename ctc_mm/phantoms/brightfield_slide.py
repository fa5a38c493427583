"""A synthetic bright-field slide on disk, with a known number of CTCs in it.

The image is computed; no claim about real CTCs follows from it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ctc_mm.imaging.io import write_ome_tiff
from ctc_mm.phantoms.brightfield import BrightfieldField, generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig

BRIGHTFIELD_CHANNEL = "bright-field"


def write_brightfield_slide(
    path: str | Path,
    size_wh: tuple[int, int] = (2560, 2560),
    *,
    ctcs: int,
    wbcs: int,
    debris: int = 0,
    config: BrightfieldPhantomConfig | None = None,
    seed: int = 0,
) -> BrightfieldField:
    """Write an OME-TIFF of one channel with its pixel size; the same arguments give the same bytes.

    Every cell is placed: a slide spiked with a known number of cells holds that number.

    Args:
        path: file to write, ``.ome.tif``.
        size_wh: width and height in pixels. The whole slide is drawn at once: about 80 bytes of memory a pixel.
        ctcs: number of CTCs; 0 for a blank.
        wbcs: number of white blood cells.
        debris: number of specks and platelets.
        config: how cells and optics look; its ``image_wh`` and numbers of cells are not used.
        seed: at least 0.

    Returns:
        Image and truth.

    Raises:
        ValueError: a number below 0, or more cells than there is room for.
    """
    if min(ctcs, wbcs, debris, seed) < 0:
        raise ValueError(
            f"`ctcs`, `wbcs`, `debris` and `seed` must be at least 0. Received: {ctcs}, {wbcs}, {debris}, {seed}"
        )
    drawn = replace(
        config or BrightfieldPhantomConfig(),
        image_wh=size_wh,
        ctc_count=(ctcs, ctcs),
        wbc_count=(wbcs, wbcs),
        debris_count=(debris, debris),
    )
    field = generate_field(drawn, np.random.default_rng(seed), blank=False)
    if field.unplaced:
        raise ValueError(
            f"{path}: {field.unplaced} of {ctcs + wbcs} cells find no room on {size_wh[0]} x {size_wh[1]} px; give "
            "fewer cells or a larger slide"
        )
    write_ome_tiff(path, field.image[None], (BRIGHTFIELD_CHANNEL,), field.um_per_px)
    return field
