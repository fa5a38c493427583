"""What decides the look of synthetic DEPArray crops: populations, nuclei, batch effects of patients, camera.

The numbers are ours. The images are synthetic; no claim about real CTCs follows from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ctc_mm.phantoms.brightfield_config import (
    BIT_DEPTHS,
    CTC_POPULATION,
    WBC_POPULATION,
    BrightfieldPhantomConfig,
    CellPopulation,
)


@dataclass(frozen=True)
class NucleusTraits:
    """Nuclei of one class.

    Attributes:
        fraction: mean diameter over that of the cell.
        fraction_sd: its standard deviation.
        irregularity: standard deviation of the radius around the outline, as a fraction of the radius.
        lobes: fewest and most lobes.
        grain_um: size of the grains of chromatin.
        grain_contrast: strength of the grains.
        brightness: mean DAPI signal of the thickest place, as a fraction of the camera's white.
        brightness_sd: its standard deviation.

    Raises:
        ValueError: a value outside its range.
    """

    fraction: float
    fraction_sd: float
    irregularity: float
    lobes: tuple[int, int]
    grain_um: float
    grain_contrast: float
    brightness: float
    brightness_sd: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("fraction", 0.2, 0.9),
            ("fraction_sd", 0, 0.2),
            ("brightness", 0.02, 1),
            ("brightness_sd", 0, 0.3),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be from {low} to {high}. Received: {getattr(self, name)}")
        if not 1 <= self.lobes[0] <= self.lobes[1] <= 4:
            raise ValueError(f"`lobes` must be two whole numbers from 1 to 4, fewest first. Received: {self.lobes}")


CTC_NUCLEI = NucleusTraits(
    fraction=0.68, fraction_sd=0.06, irregularity=0.08, lobes=(1, 1), grain_um=1.8, grain_contrast=1.1, brightness=0.45,
    brightness_sd=0.08,
)  # fmt: skip
WBC_NUCLEI = NucleusTraits(
    fraction=0.7, fraction_sd=0.06, irregularity=0.04, lobes=(1, 3), grain_um=0.9, grain_contrast=0.5, brightness=0.5,
    brightness_sd=0.08,
)  # fmt: skip


@dataclass(frozen=True)
class PatientEffects:
    """How the images of one patient differ from those of others: another day, another cartridge, another lamp.

    Attributes:
        gain: factor on the light, the same for each cell of the patient.
        offset: grey level without light, as a fraction of white.
        blur_px: standard deviation of additional blur.
        read_noise_electrons: camera noise without light.
        tilt: rise of the illumination across a crop, as a fraction of its mean.
        tilt_direction_rad: where it rises to.
        background: level of the empty bright field, as a fraction of white.
        dapi_background: glow of the medium in DAPI, as a fraction of white.
        dapi_gain: factor on the DAPI signal (staining, exposure).
        focus_um: mean distance of the cells from focus.
    """

    gain: float
    offset: float
    blur_px: float
    read_noise_electrons: float
    tilt: float
    tilt_direction_rad: float
    background: float
    dapi_background: float
    dapi_gain: float
    focus_um: float


@dataclass(frozen=True)
class DEPArrayPhantomConfig:
    """Everything that decides how a set looks; with the seed it decides every pixel.

    Attributes:
        patients: number of patients.
        samples_per_patient: samples that a patient's cells are dealt out to.
        ctc_count: fewest and most CTCs of a patient.
        wbc_count: fewest and most leukocytes of a patient.
        crop_px: side of a crop.
        um_per_px: size of a pixel.
        bit_depth: 8 gives uint8; 10, 12, 14, 16 give uint16 with white at 2 ** bit_depth - 1.
        ctc: cells of class 0.
        wbc: cells of class 1.
        ctc_nuclei: their nuclei.
        wbc_nuclei: their nuclei.
        batch_effects: how far patients differ; 0: not at all, 1: as ordinary laboratories do.
        off_centre_um: standard deviation of a cell's distance from the middle of its crop, each axis.
        defocus_sd_um: spread of the cells' distance from focus.
        rejected_fraction: share of cells far out of focus, which the operator does not choose.
        full_well_electrons: electrons of a white pixel; the fewer, the stronger the shot noise.

    Raises:
        ValueError: a value outside its range; the message names it.
    """

    patients: int = 6
    samples_per_patient: int = 2
    ctc_count: tuple[int, int] = (10, 25)
    wbc_count: tuple[int, int] = (15, 30)
    crop_px: int = 80
    um_per_px: float = 0.4
    bit_depth: int = 8
    ctc: CellPopulation = CTC_POPULATION
    wbc: CellPopulation = WBC_POPULATION
    ctc_nuclei: NucleusTraits = CTC_NUCLEI
    wbc_nuclei: NucleusTraits = WBC_NUCLEI
    batch_effects: float = 1.0
    off_centre_um: float = 0.6
    defocus_sd_um: float = 1.5
    rejected_fraction: float = 0.06
    full_well_electrons: float = 9000.0

    def __post_init__(self) -> None:
        if not (1 <= self.patients <= 999 and 1 <= self.samples_per_patient <= 99):
            raise ValueError(
                "`patients` must be from 1 to 999 and `samples_per_patient` from 1 to 99. "
                f"Received: {self.patients}, {self.samples_per_patient}"
            )
        for name in ("ctc_count", "wbc_count"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 4999:
                raise ValueError(f"`{name}` must be two numbers to 4999, fewest first. Received: {getattr(self, name)}")
        if self.bit_depth not in BIT_DEPTHS:
            raise ValueError(f"`bit_depth` must be one of {BIT_DEPTHS}. Received: {self.bit_depth}")
        for name in ("um_per_px", "full_well_electrons"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0. Received: {getattr(self, name)}")
        for name, high in (
            ("batch_effects", 1.5),
            ("off_centre_um", 5),
            ("defocus_sd_um", 10),
            ("rejected_fraction", 1),
        ):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be from 0 to {high}. Received: {getattr(self, name)}")
        widest_um = 1.25 * max(self.ctc.diameter_range_um[1], self.wbc.diameter_range_um[1])
        if not widest_um / self.um_per_px <= self.crop_px <= 1024:
            raise ValueError(
                f"`crop_px` must hold the largest cell ({widest_um / self.um_per_px:.0f} px here) and be at most 1024. "
                f"Received: {self.crop_px}"
            )

    @property
    def white_level(self) -> int:
        """Largest value of a pixel."""
        return 2**self.bit_depth - 1

    def hard(self) -> DEPArrayPhantomConfig:
        """The hard mode: both classes equal in size, outline, refraction and DNA; only the texture differs."""
        cells = BrightfieldPhantomConfig().hard()
        chromatin = self.wbc_nuclei
        shared = replace(self.ctc_nuclei, lobes=(1, 1))
        nuclei = replace(shared, grain_um=chromatin.grain_um, grain_contrast=chromatin.grain_contrast)
        return replace(self, ctc=cells.ctc, wbc=cells.wbc, ctc_nuclei=shared, wbc_nuclei=nuclei)

    def draw_effects(self, rng: np.random.Generator) -> PatientEffects:
        """Draw the batch effects of one patient; the same number of draws for every strength."""
        spread = self.batch_effects

        def around(middle: float, reach: float) -> float:
            return middle + spread * reach * rng.uniform(-1, 1)

        return PatientEffects(
            gain=math.exp(around(0, 0.15)),
            offset=max(around(0.03, 0.03), 0.0),
            blur_px=max(around(0.4, 0.4), 0.0),
            read_noise_electrons=12 * math.exp(around(0, 0.9)),
            tilt=max(around(0.1, 0.1), 0.0),
            tilt_direction_rad=around(0, math.pi),
            background=around(0.5, 0.08),
            dapi_background=0.04 * math.exp(around(0, 0.8)),
            dapi_gain=math.exp(around(0, 0.35)),
            focus_um=around(-2.5, 1.5),
        )
