"""Make the pictures of the guides, docs/images/{inspect_*,crops,augmentation}.png, from phantoms: same bytes again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.options import make_parser
from ctc_mm.imaging.cell_crops import crop_cell, normalize_crop
from ctc_mm.imaging.cell_picture import draw_cells
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.io import field_from_arrays, write_png
from ctc_mm.imaging.pictures import Picture, draw_nuclei
from ctc_mm.imfish import classify_field
from ctc_mm.imfish.picture import draw_imfish
from ctc_mm.phantoms.brightfield import generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig
from ctc_mm.phantoms.deparray import generate_patients
from ctc_mm.phantoms.deparray_config import DEPArrayPhantomConfig
from ctc_mm.phantoms.imfish import generate_imfish_field
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig

FIELD_WH = (330, 250)
CROPS_IN_ROW, CROP_ZOOM, CROP_GAP_PX = 8, 3, 6


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


def draw_crops(seed: int) -> np.ndarray:
    """Single cells cut from boxes, uint8: a row of CTCs over a row of white blood cells."""
    config = BrightfieldPhantomConfig(ctc_count=(20, 20), wbc_count=(20, 20), touching_fraction=0)
    phantom = generate_field(config, np.random.default_rng(seed), blank=False)
    rows = []
    for label in range(len(phantom.class_names)):
        boxes_xyxy = phantom.boxes_xyxy[phantom.labels == label][:CROPS_IN_ROW]
        centres_yx = (boxes_xyxy[:, [1, 0]] + boxes_xyxy[:, [3, 2]] - 1) / 2
        crops = [normalize_crop(crop_cell(phantom.image, tuple(centre_yx)), None) for centre_yx in centres_yx]
        large = [cv2.resize(crop, None, fx=CROP_ZOOM, fy=CROP_ZOOM, interpolation=cv2.INTER_NEAREST) for crop in crops]
        rows.append(np.hstack([np.pad(crop, CROP_GAP_PX // 2, constant_values=255) for crop in large]))
    return np.vstack(rows)


def draw_augmentation(seed: int) -> np.ndarray:
    """One synthetic bright-field cell, uint8: as it is at the left, then changed by each group of transforms."""
    from ctc_mm.datasets.transforms import CellGeometry, CellIllumination, CellNoise

    config = DEPArrayPhantomConfig(patients=1, ctc_count=(1, 1), wbc_count=(0, 0), rejected_fraction=0, batch_effects=0)
    cell = next(iter(generate_patients(config, seed))).cells[0].brightfield.astype(np.float32)
    groups = {"geometry": CellGeometry(), "light": CellIllumination(), "noise": CellNoise()}
    np.random.seed(seed)  # noqa: NPY002  # where the transforms draw their seeds, as MMEngine sets it
    rows = []
    for name, transform in groups.items():
        images = [cell, *(transform({"img": cell})["img"] for _ in range(CROPS_IN_ROW - 1))]
        large = [cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for image in images]
        row = np.hstack([np.pad(image, CROP_GAP_PX // 2, constant_values=255) for image in large])
        title = np.full((24, row.shape[1]), 255, np.float32)
        cv2.putText(title, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
        rows += [title, row]
    return np.rint(np.vstack(rows)).astype(np.uint8)


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
    write_png(args.out / "crops.png", draw_crops(args.seed))
    write_png(args.out / "augmentation.png", draw_augmentation(args.seed))


if __name__ == "__main__":
    sys.exit(run_cli(main))
