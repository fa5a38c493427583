"""What decides the look of a synthetic imFISH field: populations, staining, optics, camera.

The numbers are ours, chosen so that the fields exercise the rule of imfish-cnn-2022 ("Detection Standard of CTCs");
the images are synthetic, and no claim about real CTCs follows from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ctc_mm.phantoms.brightfield_config import BIT_DEPTHS

IMFISH_CHANNELS = ("dapi", "cep8", "cd45")
IMFISH_POPULATIONS = ("CTC", "WBC", "other")

# Share of each channel's light that is seen in each other channel: rows are what emits, columns where it is seen.
BLEED_THROUGH = ((1.0, 0.04, 0.015), (0.0, 1.0, 0.02), (0.0, 0.03, 1.0))


@dataclass(frozen=True)
class NucleusPopulation:
    """Size, look and staining of one kind of cell.

    Attributes:
        diameter_um: mean diameter of the nucleus.
        diameter_sd_um: its standard deviation.
        diameter_range_um: smallest and largest diameter.
        irregularity: standard deviation of the radius around the outline, as a fraction of the radius.
        cytoplasm_ratio: least and largest diameter of the cell over that of its nucleus.
        dapi: mean brightness of the nucleus, as a fraction of the camera's white.
        cd45: mean brightness of the cell in CD45, likewise; cells without CD45 glow a little too.
        cep8_shares: number of CEP8 signals -> share of the cells.

    Raises:
        ValueError: a range that does not rise, a brightness outside 0 to 1, shares that do not add up to 1.
    """

    diameter_um: float
    diameter_sd_um: float
    diameter_range_um: tuple[float, float]
    irregularity: float
    cytoplasm_ratio: tuple[float, float]
    dapi: float
    cd45: float
    cep8_shares: Mapping[int, float]

    def __post_init__(self) -> None:
        low, high = self.diameter_range_um
        if not (0 < low <= self.diameter_um <= high < math.inf and 0 <= self.diameter_sd_um < math.inf):
            raise ValueError(
                "`diameter_range_um` must be positive, rising and hold `diameter_um`, with a deviation of at least 0. "
                f"Received: {self.diameter_range_um}, {self.diameter_um}, {self.diameter_sd_um}"
            )
        if not 1 < self.cytoplasm_ratio[0] <= self.cytoplasm_ratio[1] < 4:
            raise ValueError(f"`cytoplasm_ratio` must rise between 1 and 4. Received: {self.cytoplasm_ratio}")
        for name in ("dapi", "cd45"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {getattr(self, name)}")
        if min(self.cep8_shares, default=-1) < 0 or not math.isclose(sum(self.cep8_shares.values()), 1, abs_tol=1e-6):
            raise ValueError(
                f"`cep8_shares` must map numbers of at least 0 to shares of sum 1. Received: {dict(self.cep8_shares)}"
            )

    def draw_diameters_um(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` diameters, float64 in um: normal, what lies outside the range is put on its ends."""
        return np.clip(rng.normal(self.diameter_um, self.diameter_sd_um, count), *self.diameter_range_um)

    def draw_cep8(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` numbers of CEP8 signals, int64."""
        numbers = np.array(list(self.cep8_shares), np.int64)
        return rng.choice(numbers, count, p=np.array(list(self.cep8_shares.values())))


CTC_NUCLEI = NucleusPopulation(
    diameter_um=12.5,
    diameter_sd_um=1.6,
    diameter_range_um=(9.0, 16.0),
    irregularity=0.05,
    cytoplasm_ratio=(1.25, 1.6),
    dapi=0.30,
    cd45=0.012,
    cep8_shares={3: 0.45, 4: 0.30, 5: 0.15, 6: 0.07, 8: 0.03},
)
# A few WBC are cut, in division or badly hybridised: 0, 1, 3 or 4 signals; CD45 tells them from CTCs.
WBC_NUCLEI = NucleusPopulation(
    diameter_um=8.5,
    diameter_sd_um=0.8,
    diameter_range_um=(6.5, 11.0),
    irregularity=0.035,
    cytoplasm_ratio=(1.25, 1.5),
    dapi=0.36,
    cd45=0.16,
    cep8_shares={0: 0.01, 1: 0.05, 2: 0.88, 3: 0.03, 4: 0.03},
)
# Nucleated cells of blood without CD45 and with two chromosomes 8 (endothelium, erythroblasts): only CEP8 tells them.
OTHER_NUCLEI = replace(WBC_NUCLEI, diameter_um=9.5, cd45=0.012, cep8_shares={1: 0.05, 2: 0.95})


@dataclass(frozen=True)
class ImFISHPhantomConfig:
    """Everything that decides how an imFISH field looks; with the seed it decides every pixel.

    Attributes:
        image_wh: width and height in pixels.
        um_per_px: size of a pixel (x40 and a common camera: about 0.25).
        bit_depth: 8 gives uint8; 10, 12, 14, 16 give uint16 with white at 2 ** bit_depth - 1.
        ctc: population of the CTCs: no CD45, CEP8 mostly 3 and more.
        wbc: population of the white blood cells.
        other: population of cells with neither CD45 nor a third chromosome 8.
        ctc_count: fewest and most CTCs in a field.
        wbc_count: fewest and most WBC outside aggregates.
        other_count: fewest and most others.
        overlap_count: fewest and most pairs of WBC, or of WBC and CTC, that lie over one another.
        aggregate_count: fewest and most clumps of 3 to 6 nuclei.
        touching_fraction: share of the cells set against another cell (cytoplasm to cytoplasm).
        debris_count: fewest and most specks and smears that shine in one channel or several.
        cep8_peak: mean brightness in the middle of a CEP8 signal above its surroundings, as a fraction of white.
        cep8_sigma_um: smallest and largest standard deviation of a signal in focus (probe and optics together).
        stain_spread: standard deviation of the logarithm of each cell's staining.
        defocus_um: standard deviation of a cell's blur that comes from its distance to the plane of focus.
        out_of_focus_fraction: share of the cells far out of focus, whose signals nobody can count.
        bleed_through: (3, 3) share of the light of channel i seen in channel j.
        background: least and largest level of the empty slide, as a fraction of white.
        unevenness: brightest minus darkest place of the exposure, as a fraction of its mean.
        exposure: darkest and brightest factor of a channel's exposure.
        full_well_electrons: electrons of a white pixel; the fewer, the stronger the shot noise.
        read_noise_electrons: camera noise without light.

    Raises:
        ValueError: a value outside its range; the message names it.
    """

    image_wh: tuple[int, int] = (1024, 1024)
    um_per_px: float = 0.25
    bit_depth: int = 12
    ctc: NucleusPopulation = CTC_NUCLEI
    wbc: NucleusPopulation = WBC_NUCLEI
    other: NucleusPopulation = OTHER_NUCLEI
    ctc_count: tuple[int, int] = (4, 8)
    wbc_count: tuple[int, int] = (22, 34)
    other_count: tuple[int, int] = (2, 5)
    overlap_count: tuple[int, int] = (1, 2)
    aggregate_count: tuple[int, int] = (1, 2)
    touching_fraction: float = 0.15
    debris_count: tuple[int, int] = (12, 30)
    cep8_peak: float = 0.11
    cep8_sigma_um: tuple[float, float] = (0.26, 0.38)
    stain_spread: float = 0.22
    defocus_um: float = 0.12
    out_of_focus_fraction: float = 0.02
    bleed_through: tuple[tuple[float, ...], ...] = BLEED_THROUGH
    background: tuple[float, float] = (0.025, 0.05)
    unevenness: float = 0.3
    exposure: tuple[float, float] = (0.75, 1.25)
    full_well_electrons: float = 9000.0
    read_noise_electrons: float = 6.0
    populations: tuple[NucleusPopulation, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.image_wh) != 2 or min(self.image_wh) < 64:
            raise ValueError(f"`image_wh` must be width and height of at least 64 px. Received: {self.image_wh}")
        if self.bit_depth not in BIT_DEPTHS:
            raise ValueError(f"`bit_depth` must be one of {BIT_DEPTHS}. Received: {self.bit_depth}")
        for name in ("um_per_px", "full_well_electrons"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0. Received: {getattr(self, name)}")
        for name in ("stain_spread", "defocus_um", "read_noise_electrons"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0. Received: {getattr(self, name)}")
        for name in ("touching_fraction", "out_of_focus_fraction", "unevenness", "cep8_peak"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {getattr(self, name)}")
        for name in ("ctc", "wbc", "other", "overlap", "aggregate", "debris"):
            low, high = getattr(self, f"{name}_count")
            if not 0 <= low <= high:
                raise ValueError(f"`{name}_count` must be two whole numbers, fewest first. Received: {(low, high)}")
        for name in ("cep8_sigma_um", "background", "exposure"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"`{name}` must be positive and rise. Received: {(low, high)}")
        if np.shape(self.bleed_through) != (3, 3) or np.min(self.bleed_through) < 0:
            raise ValueError(f"`bleed_through` must be 3 x 3 shares of at least 0. Received: {self.bleed_through}")
        object.__setattr__(self, "populations", (self.ctc, self.wbc, self.other))

    @property
    def white_level(self) -> int:
        """Largest value of a pixel."""
        return 2**self.bit_depth - 1

    def without_size_cue(self) -> ImFISHPhantomConfig:
        """The hard mode: all nuclei have one size, outline, DAPI brightness and cytoplasm; only the probes tell."""
        look = {
            "diameter_um": 10.0,
            "diameter_sd_um": 1.2,
            "diameter_range_um": (7.0, 14.0),
            "irregularity": self.wbc.irregularity,
            "cytoplasm_ratio": self.wbc.cytoplasm_ratio,
            "dapi": self.wbc.dapi,
        }
        return replace(
            self,
            ctc=replace(self.ctc, **look),
            wbc=replace(self.wbc, **look),
            other=replace(self.other, **look),
        )
