"""Synthetic DEPArray crops: one cell a crop, bright-field and DAPI, several patients with batch effects, exact truth.

They serve to exercise and time software (deparray-augmentation-2025, readings 20 and 21). No claim about real CTCs
follows from any result on them: the difference between the two classes is one we put in.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ctc_mm.phantoms.brightfield_config import CLASS_NAMES
from ctc_mm.phantoms.cell_shapes import ObjectTraits, make_objects
from ctc_mm.phantoms.deparray_config import DEPArrayPhantomConfig, NucleusTraits, PatientEffects
from ctc_mm.phantoms.optics import expose, image_weak_objects

# Light that a crop's edge cuts off still shapes what is inside it.
_MARGIN_UM = 6.0
# How much of the cell's own phase a nucleus adds, as in the bright-field phantom.
_NUCLEUS_PHASE = 0.35
_REJECTED_DEFOCUS_UM = (14.0, 22.0)
# Blur of a fluorescence image in focus, and what each um of defocus adds.
_DAPI_PSF_UM = 0.35
_DAPI_BLUR_PER_UM = 0.12
# Radius of a lobe, and its distance from the nucleus' centre, over the radius of a round nucleus.
_LOBES = {1: (1.0, 0.0), 2: (0.68, 0.42), 3: (0.56, 0.5), 4: (0.5, 0.52)}


@dataclass(frozen=True)
class DEPArrayCell:
    """One cell: its twin images and exact truth.

    Attributes:
        patient: name of the patient.
        sample: name of the sample.
        number: number of the cell in the sample, from 1.
        label: index into ``CLASS_NAMES``: 0 CTC, 1 WBC.
        brightfield: (H, W) uint8 or uint16.
        dapi: (H, W) of the same type.
        cell_mask: (H, W) bool.
        nucleus_mask: (H, W) bool, inside ``cell_mask``.
        diameter_um: mean diameter drawn for the cell.
        nucleus_um: diameter drawn for the nucleus (of a round one of the same kind, where it has lobes).
        defocus_um: distance from focus.
        keep: whether an operator would choose it: False far out of focus.
    """

    patient: str
    sample: str
    number: int
    label: int
    brightfield: np.ndarray
    dapi: np.ndarray
    cell_mask: np.ndarray
    nucleus_mask: np.ndarray
    diameter_um: float
    nucleus_um: float
    defocus_um: float
    keep: bool

    @property
    def class_name(self) -> str:
        """CTC or WBC."""
        return CLASS_NAMES[self.label]


@dataclass(frozen=True)
class DEPArrayPatient:
    """The cells of one patient, in the order of samples and numbers, and what their images have in common."""

    name: str
    effects: PatientEffects
    cells: tuple[DEPArrayCell, ...]


@dataclass(frozen=True)
class _Drawn:
    """What is drawn for the N cells of a patient before anything is imaged."""

    labels: np.ndarray
    diameters_um: np.ndarray
    nuclei_um: np.ndarray
    defocus_um: np.ndarray
    keep: np.ndarray
    centres_yx: np.ndarray


@dataclass(frozen=True)
class _Specimens:
    """The N cells of a patient as matter, each (N, side, side): float32, and bool where inside."""

    phase_rad: np.ndarray
    absorbance: np.ndarray
    dna: np.ndarray
    in_cell: np.ndarray
    in_nucleus: np.ndarray


def generate_patients(config: DEPArrayPhantomConfig | None = None, seed: int = 0) -> Iterator[DEPArrayPatient]:
    """Draw the patients of a set, one at a time; a longer set starts with the same patients.

    Raises:
        ValueError: a seed below 0.
    """
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0. Received: {seed}")
    config = DEPArrayPhantomConfig() if config is None else config
    for index in range(config.patients):
        yield generate_patient(config, f"P{index + 1:03d}", np.random.default_rng([seed, zlib.crc32(b"P"), index]))


def generate_patient(config: DEPArrayPhantomConfig, name: str, rng: np.random.Generator) -> DEPArrayPatient:
    """Draw one patient.

    Args:
        config: how the images look.
        name: of the patient; samples are named after it.
        rng: source of randomness; its state decides every pixel.

    Raises:
        TypeError: ``rng`` is no ``numpy.random.Generator``.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"`rng` must be a numpy.random.Generator (np.random.default_rng(seed)). Received: {type(rng)}")
    effects = config.draw_effects(rng)
    drawn = _draw(config, effects, rng)
    if len(drawn.labels) == 0:
        return DEPArrayPatient(name, effects, ())
    specimens = _build(config, drawn, rng)
    camera = _Camera(config, effects, rng)
    passed = image_weak_objects(specimens.phase_rad, specimens.absorbance, drawn.defocus_um, config.um_per_px)
    start = (passed.shape[-1] - config.crop_px) // 2
    crop = (slice(start, start + config.crop_px), slice(start, start + config.crop_px))
    cells = []
    for index in range(len(drawn.labels)):
        sample, number = index % config.samples_per_patient, index // config.samples_per_patient
        label, defocus_um = int(drawn.labels[index]), float(drawn.defocus_um[index])
        cells.append(
            DEPArrayCell(
                patient=name,
                sample=f"{name}_S{sample + 1}",
                number=number + 1,
                label=label,
                brightfield=camera.brightfield(passed[index], crop),
                dapi=camera.dapi(specimens.dna[index], defocus_um, label, crop),
                cell_mask=specimens.in_cell[index][crop].copy(),
                nucleus_mask=specimens.in_nucleus[index][crop].copy(),
                diameter_um=float(drawn.diameters_um[index]),
                nucleus_um=float(drawn.nuclei_um[index]),
                defocus_um=defocus_um,
                keep=bool(drawn.keep[index]),
            )
        )
    return DEPArrayPatient(name, effects, tuple(sorted(cells, key=lambda cell: (cell.sample, cell.number))))


def _draw(config: DEPArrayPhantomConfig, effects: PatientEffects, rng: np.random.Generator) -> _Drawn:
    counts = [int(rng.integers(*bounds, endpoint=True)) for bounds in (config.ctc_count, config.wbc_count)]
    populations, nuclei = (config.ctc, config.wbc), (config.ctc_nuclei, config.wbc_nuclei)
    diameters = np.concatenate([one.draw_diameters_um(n, rng) for one, n in zip(populations, counts, strict=True)])
    fractions = np.concatenate(
        [rng.normal(one.fraction, one.fraction_sd, n) for one, n in zip(nuclei, counts, strict=True)]
    )
    order = rng.permutation(sum(counts))
    labels = np.repeat(np.arange(2), counts)[order]
    diameters, fractions = diameters[order], np.clip(fractions[order], 0.2, 0.9)
    count = len(labels)
    defocus = rng.normal(effects.focus_um, config.defocus_sd_um, count)
    rejected = rng.uniform(size=count) < config.rejected_fraction
    far = rng.uniform(*_REJECTED_DEFOCUS_UM, count) * rng.choice([-1.0, 1.0], count)
    offsets_px = rng.normal(0, config.off_centre_um, (count, 2)).clip(-3, 3) / config.um_per_px
    centres_yx = _canvas_side(config) / 2 + offsets_px
    return _Drawn(labels, diameters, diameters * fractions, np.where(rejected, far, defocus), ~rejected, centres_yx)


def _canvas_side(config: DEPArrayPhantomConfig) -> int:
    """Side of the area that is imaged around each crop: a whole number of 16 px, which transforms fast."""
    return math.ceil((config.crop_px + 2 * _MARGIN_UM / config.um_per_px) / 16) * 16


def _build(config: DEPArrayPhantomConfig, drawn: _Drawn, rng: np.random.Generator) -> _Specimens:
    """Shape bodies and nuclei apart, so that the nucleus of the bright field is the one that DAPI shows."""
    count, side = len(drawn.labels), _canvas_side(config)
    kinds = [(config.ctc, config.wbc)[label].traits for label in drawn.labels]
    bare = [replace(one, nucleus_fraction=0) for one in kinds]
    radii_px = (drawn.diameters_um / 2 / config.um_per_px).astype(np.float32)
    bodies = make_objects(drawn.centres_yx.astype(np.float32), radii_px, bare, config.um_per_px, 0.5, rng)

    def paste(patches: np.ndarray, empty: float = 0) -> np.ndarray:
        return _paste(patches, bodies.corners_yx, range(count), (count, side), empty)

    in_cell = paste(bodies.depth, empty=-1) > 0
    dna, in_nucleus = _nuclei(config, drawn, rng)
    dna *= in_cell
    refraction, loss = (
        np.array([getattr(one, name) for one in kinds], np.float32)[:, None, None]
        for name in ("phase_rad", "absorbance")
    )
    phase_rad = paste(bodies.phase_rad) + _NUCLEUS_PHASE * refraction * dna
    absorbance = paste(bodies.absorbance) + _NUCLEUS_PHASE * loss * dna
    return _Specimens(phase_rad, absorbance, dna, in_cell, in_nucleus & in_cell)


def _nuclei(config: DEPArrayPhantomConfig, drawn: _Drawn, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """DNA along the light's way, about 1 at the thickest place, and where nuclei are: (N, side, side) float32, bool."""
    kinds = (config.ctc_nuclei, config.wbc_nuclei)
    owners, centres, radii, traits = [], [], [], []
    for index, label in enumerate(drawn.labels):
        radius = drawn.nuclei_um[index] / 2
        free = max(drawn.diameters_um[index] / 2 - radius, 0) * math.sqrt(rng.uniform(0, 0.5))
        direction, turn = rng.uniform(0, 2 * math.pi, 2)
        middle = np.array([math.sin(direction), math.cos(direction)]) * free
        lobes = int(rng.integers(*kinds[label].lobes, endpoint=True))
        size, distance = _LOBES[lobes]
        for lobe in range(lobes):
            angle = turn + 2 * math.pi * lobe / lobes
            place = middle + radius * distance * np.array([math.sin(angle), math.cos(angle)])
            owners.append(index)
            centres.append(drawn.centres_yx[index] + place / config.um_per_px)
            radii.append(radius * size / config.um_per_px)
            traits.append(_chromatin(kinds[label]))
    stack = make_objects(np.array(centres, np.float32), np.array(radii, np.float32), traits, config.um_per_px, 0.5, rng)
    canvas = (len(drawn.labels), _canvas_side(config))
    dna = _paste(np.maximum(stack.phase_rad, 0), stack.corners_yx, owners, canvas)
    return dna, _paste(stack.depth, stack.corners_yx, owners, canvas, empty=-1) > 0


def _chromatin(nuclei: NucleusTraits) -> ObjectTraits:
    # A phase of 1: what make_objects calls phase is the amount of DNA here.
    return ObjectTraits(nuclei.irregularity, 1, 0, 0, nuclei.grain_um, nuclei.grain_contrast)


def _paste(
    patches: np.ndarray, corners_yx: np.ndarray, owners: Sequence[int], canvas: tuple[int, int], empty: float = 0
) -> np.ndarray:
    """Patches on the canvas (count, side) of the cell that each belongs to; the largest value where several overlap."""
    count, side = canvas
    pasted = np.full((count, side, side), empty, np.float32)
    size = patches.shape[-1]
    for patch, owner, corner in zip(patches, owners, corners_yx.tolist(), strict=True):
        target = [slice(max(start, 0), min(start + size, side)) for start in corner]
        source = [slice(part.start - start, part.stop - start) for part, start in zip(target, corner, strict=True)]
        place = pasted[owner, target[0], target[1]]
        np.maximum(place, patch[source[0], source[1]], out=place)
    return pasted


class _Camera:
    """Microscope and camera of one patient's day."""

    def __init__(self, config: DEPArrayPhantomConfig, effects: PatientEffects, rng: np.random.Generator) -> None:
        self.config, self.effects, self.rng = config, effects, rng
        ramp = np.linspace(-0.5, 0.5, config.crop_px, dtype=np.float32)
        rise_y, rise_x = math.sin(effects.tilt_direction_rad), math.cos(effects.tilt_direction_rad)
        self.illumination = 1 + effects.tilt * (rise_y * ramp[:, None] + rise_x * ramp[None, :])

    def brightfield(self, passed: np.ndarray, crop: tuple[slice, slice]) -> np.ndarray:
        """Grey values of a cell that lets ``passed`` through."""
        return self._expose(self.effects.background * _blur(passed, self.effects.blur_px)[crop])

    def dapi(self, dna: np.ndarray, defocus_um: float, label: int, crop: tuple[slice, slice]) -> np.ndarray:
        """Grey values of a stained nucleus."""
        nuclei = (self.config.ctc_nuclei, self.config.wbc_nuclei)[label]
        brightness = max(self.rng.normal(nuclei.brightness, nuclei.brightness_sd), 0.05) * self.effects.dapi_gain
        blur_px = math.hypot(_DAPI_PSF_UM, _DAPI_BLUR_PER_UM * defocus_um) / self.config.um_per_px
        glow = _blur(dna * np.float32(brightness), math.hypot(blur_px, self.effects.blur_px))[crop]
        return self._expose(glow + self.effects.dapi_background)

    def _expose(self, light: np.ndarray) -> np.ndarray:
        light = self.effects.gain * light * self.illumination + self.effects.offset
        return expose(
            light.astype(np.float32),
            self.config.bit_depth,
            self.rng,
            full_well_electrons=self.config.full_well_electrons,
            read_noise_electrons=self.effects.read_noise_electrons,
        )


def _blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT) if sigma_px > 0.05 else image
