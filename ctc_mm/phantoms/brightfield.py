"""Synthetic bright-field fields with CTCs and white blood cells (WBC), with exact truth.

These images are computed, not taken. They follow the sizes of ssd-attention-fusion-2022 (section 1: CTC 10-20 um, WBC
7-12 um; x20 objective) and the optics of a weak object, and serve to exercise and time software. No claim about real
CTCs follows from any result on them: the difference between the two classes is one we put in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.phantoms.brightfield_config import CLASS_NAMES, BrightfieldPhantomConfig
from ctc_mm.phantoms.cell_shapes import ObjectStack, ObjectTraits, make_objects
from ctc_mm.phantoms.instances import label_instances, overlap_slices, tight_boxes
from ctc_mm.phantoms.optics import expose, image_weak_objects, uneven_illumination
from ctc_mm.phantoms.placement import place_discs

# Room around an object in which its halo fades.
_HALO_UM = 8.0

_DEBRIS = ObjectTraits(
    irregularity=0.22, phase_rad=0.5, absorbance=0.7, nucleus_fraction=0, grain_um=0.8, grain_contrast=0.6
)
_PLATELETS = ObjectTraits(
    irregularity=0.1, phase_rad=0.6, absorbance=0.05, nucleus_fraction=0, grain_um=0.8, grain_contrast=0.1
)


@dataclass(frozen=True)
class BrightfieldField:
    """One synthetic field and its exact truth; row i of every array is cell i, label i + 1 of ``instances``.

    Attributes:
        image: (H, W) uint8 or uint16.
        boxes_xyxy: (N, 4) float32, tight half-open pixel boxes of what is visible of each cell.
        labels: (N,) int64, index into ``class_names``.
        instances: (H, W) int32, 0 background, i + 1 cell i.
        diameters_um: (N,) float32, mean diameter drawn for each cell.
        um_per_px: size of a pixel.
        white_level: largest value of a pixel.
        unplaced: cells that were drawn but found no room in the field.
        class_names: names of the classes.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    diameters_um: np.ndarray
    um_per_px: float
    white_level: int
    unplaced: int
    class_names: tuple[str, ...] = CLASS_NAMES


def generate_field(
    config: BrightfieldPhantomConfig, rng: np.random.Generator, blank: bool | None = None
) -> BrightfieldField:
    """Draw one field.

    Args:
        config: how it looks.
        rng: source of randomness; its state decides every pixel.
        blank: True for a field without cells, False for one with cells, None to draw it with ``blank_fraction``.

    Raises:
        TypeError: ``rng`` is no ``numpy.random.Generator``.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"`rng` must be a numpy.random.Generator (np.random.default_rng(seed)). Received: {type(rng)}")
    if blank is None:
        blank = bool(rng.uniform() < config.blank_fraction)
    width, height = config.image_wh
    light = uneven_illumination((height, width), config.unevenness, rng) * rng.uniform(*config.exposure)

    labels, diameters_um = _draw_cells(config, blank, rng)
    radii_px = (diameters_um / 2 / config.um_per_px).astype(np.float32)
    centres_yx, placed = place_discs(radii_px, config.image_wh, config.touching_fraction, rng)
    labels, radii_px, centres_yx = labels[placed], radii_px[placed], centres_yx[placed]
    populations = (config.ctc, config.wbc)
    traits = [populations[label].traits for label in labels]
    cells = make_objects(centres_yx, radii_px, traits, config.um_per_px, _HALO_UM, rng)
    _shade(light, cells, rng.normal(config.focus_um, config.defocus_sd_um, len(labels)), config.um_per_px)
    _add_debris(light, config, rng)
    image = expose(
        light,
        config.bit_depth,
        rng,
        full_well_electrons=config.full_well_electrons,
        read_noise_electrons=config.read_noise_electrons,
    )
    instances = label_instances(cells, (height, width))
    return BrightfieldField(
        image=image,
        boxes_xyxy=tight_boxes(instances, len(labels)),
        labels=labels,
        instances=instances,
        diameters_um=diameters_um[placed].astype(np.float32),
        um_per_px=config.um_per_px,
        white_level=config.white_level,
        unplaced=int((~placed).sum()),
    )


def _draw_cells(
    config: BrightfieldPhantomConfig, blank: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and diameters (N,) in um, shuffled so that neither class is placed first."""
    counts = [0, 0]
    if not blank:
        counts = [int(rng.integers(*bounds, endpoint=True)) for bounds in (config.ctc_count, config.wbc_count)]
    labels = np.repeat(np.arange(2), counts)
    diameters_um = np.concatenate(
        [population.draw_diameters_um(n, rng) for population, n in zip((config.ctc, config.wbc), counts, strict=True)]
    )
    order = rng.permutation(len(labels))
    return labels[order], diameters_um[order]


def _add_debris(light: np.ndarray, config: BrightfieldPhantomConfig, rng: np.random.Generator) -> None:
    """Darken ``light`` in place by specks and platelets at all depths."""
    count = int(rng.integers(*config.debris_count, endpoint=True))
    is_platelet = rng.uniform(size=count) < 0.5
    radii_um = np.where(is_platelet, rng.uniform(0.8, 1.6, count), 0.4 + rng.exponential(0.6, count).clip(max=2.6))
    height, width = light.shape
    centres_yx = rng.uniform(0, 1, (count, 2)) * (height, width)
    traits = [_PLATELETS if platelet else _DEBRIS for platelet in is_platelet]
    radii_px = (radii_um / config.um_per_px).astype(np.float32)
    debris = make_objects(centres_yx.astype(np.float32), radii_px, traits, config.um_per_px, _HALO_UM, rng)
    _shade(light, debris, rng.normal(0, 4 * config.defocus_sd_um, count), config.um_per_px)


def _shade(light: np.ndarray, objects: ObjectStack, defocus_um: np.ndarray, um_per_px: float) -> None:
    """Multiply ``light`` in place by what each object lets through."""
    if len(defocus_um) == 0:
        return
    passed = image_weak_objects(objects.phase_rad, objects.absorbance, defocus_um, um_per_px)
    # Fringes that reach the border of a patch fade to 1 there, or its square would show.
    fade = np.minimum(np.hanning(passed.shape[-1]) * 4, 1).astype(np.float32)
    passed = 1 + (passed - 1) * fade[:, None] * fade[None, :]
    for patch, corner_yx in zip(passed, objects.corners_yx, strict=True):
        target, source = overlap_slices(light.shape, corner_yx, patch.shape[0])
        light[target] *= patch[source]
