"""Make the pictures of the guides, docs/images/inspect_*.png, from phantoms: same program, same bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.options import make_parser
from ctc_mm.imaging.cell_picture import draw_cells
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imaging.pictures import Picture, draw_nuclei
from ctc_mm.imfish import classify_field
from ctc_mm.imfish.picture import draw_imfish
from ctc_mm.phantoms.brightfield import generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig
from ctc_mm.phantoms.imfish import generate_imfish_field
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig

FIELD_WH = (330, 250)


def imfish_phantom(seed: int) -> Field:
    """A small imFISH field of crowded cells."""
    config = ImFISHPhantomConfig(
        image_wh=FIELD_WH,
        ctc_count=(3, 3),
        wbc_count=(7, 7),
        other_count=(2, 2),
        overlap_count=(1, 1),
        aggregate_count=(0, 0),
        debris_count=(6, 6),
    )
    phantom = generate_imfish_field(config, np.random.default_rng(seed))
    channels = dict(zip(phantom.channels, phantom.image_cyx, strict=True))
    return field_from_arrays(channels, "synthetic imFISH field", phantom.um_per_px)


def brightfield_phantom(seed: int) -> Field:
    """A small bright-field image of crowded cells."""
    config = BrightfieldPhantomConfig(
        image_wh=FIELD_WH,
        ctc_count=(3, 3),
        wbc_count=(9, 9),
        touching_fraction=0.4,
        debris_count=(8, 8),
        unevenness=0.15,
    )
    phantom = generate_field(config, np.random.default_rng(seed), blank=False)
    return field_from_arrays({"brightfield": phantom.image}, "synthetic bright field", phantom.um_per_px)


def draw_pictures(seed: int) -> dict[str, Picture]:
    """Draw each kind of picture, by name."""
    field = imfish_phantom(seed)
    return {
        "nuclei": draw_nuclei(field, "dapi", zoom=3),
        "cells": draw_cells(brightfield_phantom(seed), zoom=3),
        "imfish": draw_imfish(field, classify_field(field, workers=1), zoom=3),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pictures and print what they show."""
    parser = make_parser(__doc__, "python benchmarks/doc_pictures.py --out docs/images")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2, help="of the phantoms (default: %(default)s)")
    args = parser.parse_args(argv)
    for name, picture in progress(draw_pictures(args.seed).items(), "writing"):
        path = args.out / f"inspect_{name}.png"
        picture.save(path)
        print("\n".join([f"{path}:", *picture.summary]))


if __name__ == "__main__":
    sys.exit(run_cli(main))
