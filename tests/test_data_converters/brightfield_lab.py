"""A laboratory's folders: bright-field phantoms with fluorescence of the same fields, shifted by known amounts."""

import cv2
import numpy as np

from ctc_mm.imaging.io import write_image
from ctc_mm.imaging.registration import shift_labels
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

CONFIG = BrightfieldPhantomConfig(
    image_wh=(360, 320), ctc_count=(3, 3), wbc_count=(6, 6), touching_fraction=0, debris_count=(0, 3), defocus_sd_um=0.5
)
SHIFTS_YX = {"red": (4, -7), "green": (-3, 9)}


def fluorescence(field, class_index, shift_yx, seed=0):
    """Cells of one class shine, shifted; the others hardly."""
    numbers = np.flatnonzero(field.labels == class_index) + 1
    light = shift_labels(np.where(np.isin(field.instances, numbers), 900.0, 15.0 * (field.instances > 0)), shift_yx)
    return np.random.default_rng(seed).poisson(cv2.GaussianBlur(light + 200, (0, 0), 1.5)).astype(np.uint16)


def make_lab(root, count=3):
    """Write ``bf``, ``red`` (CTC) and ``green`` (WBC); the last field holds no cell. Gives the fields by name."""
    fields = {}
    for index in range(count):
        field = generate_field(CONFIG, np.random.default_rng([3, index]), blank=index == count - 1)
        name = f"P{index // 2}_f{index}"
        fields[name] = field
        write_image(root / f"bf/{name}_BF.png", field.image)
        for place, folder in enumerate(("red", "green")):
            image = fluorescence(field, place, SHIFTS_YX[folder], seed=index)
            write_image(root / f"{folder}/{name}_{folder}.tif", image)
    return fields


def class_at(field, row):
    """True class of the cell that a row of cells.csv is about; None where there is none."""
    x, y = float(row.extra["centroid_x"]), float(row.extra["centroid_y"])
    number = field.instances[round(y), round(x)]
    return field.class_names[field.labels[number - 1]] if number else None
