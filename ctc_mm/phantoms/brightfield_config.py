"""What decides the look of a synthetic bright-field field: populations, optics, camera.

The numbers are ours, except the range of sizes (ssd-attention-fusion-2022, section 1). The images are synthetic;
no claim about real CTCs follows from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ctc_mm.phantoms.cell_shapes import ObjectTraits

CLASS_NAMES = ("CTC", "WBC")
BIT_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class CellPopulation:
    """Sizes and look of one class of cells.

    Attributes:
        diameter_um: mean diameter.
        diameter_sd_um: standard deviation before truncation to the range.
        diameter_range_um: smallest and largest diameter.
        traits: outline, refraction, nucleus and grain.

    Raises:
        ValueError: the range is not two rising positive numbers around the mean, or the deviation is negative.
    """

    diameter_um: float
    diameter_sd_um: float
    diameter_range_um: tuple[float, float]
    traits: ObjectTraits

    def __post_init__(self) -> None:
        low, high = self.diameter_range_um
        if not 0 < low <= self.diameter_um <= high < math.inf:
            raise ValueError(
                "`diameter_range_um` must be positive, rising and hold `diameter_um`. "
                f"Received: {self.diameter_range_um}, {self.diameter_um}"
            )
        if not 0 <= self.diameter_sd_um < math.inf:
            raise ValueError(f"`diameter_sd_um` must be at least 0. Received: {self.diameter_sd_um}")

    def draw_diameters_um(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` diameters of the truncated normal distribution, float64 in um."""
        low, high = self.diameter_range_um
        diameters = rng.normal(self.diameter_um, self.diameter_sd_um, count)
        outside = (diameters < low) | (diameters > high)
        while outside.any():
            diameters[outside] = rng.normal(self.diameter_um, self.diameter_sd_um, int(outside.sum()))
            outside = (diameters < low) | (diameters > high)
        return diameters


CTC_POPULATION = CellPopulation(
    diameter_um=15.0,
    diameter_sd_um=2.2,
    diameter_range_um=(10.0, 20.0),
    traits=ObjectTraits(
        irregularity=0.05, phase_rad=2.2, absorbance=0.14, nucleus_fraction=0.7, grain_um=1.8, grain_contrast=0.5
    ),
)
WBC_POPULATION = CellPopulation(
    diameter_um=9.5,
    diameter_sd_um=1.2,
    diameter_range_um=(7.0, 12.0),
    traits=ObjectTraits(
        irregularity=0.03, phase_rad=1.6, absorbance=0.10, nucleus_fraction=0.6, grain_um=0.9, grain_contrast=0.2
    ),
)
"""Default populations: what differs is size, outline and texture."""


@dataclass(frozen=True)
class BrightfieldPhantomConfig:
    """Everything that decides how a field looks; with the seed it decides every pixel.

    Attributes:
        image_wh: width and height in pixels.
        um_per_px: size of a pixel (x20 and a common camera: about 0.6).
        bit_depth: 8 gives uint8; 10, 12, 14, 16 give uint16 with white at 2 ** bit_depth - 1.
        ctc: population of class 0.
        wbc: population of class 1.
        ctc_count: fewest and most CTCs in a field that has cells.
        wbc_count: fewest and most WBCs in such a field.
        blank_fraction: share of fields without any cell (debris stays).
        touching_fraction: share of cells set against another cell.
        debris_count: fewest and most specks and platelets.
        focus_um: mean distance of the cells from focus; microscopists leave focus a little, since cells almost vanish
            in it. Negative: dark rim and bright halo; positive: the reverse.
        defocus_sd_um: spread of the cells' distance from focus; debris floats four times as far.
        unevenness: brightest minus darkest place of the illumination, as a fraction of its mean.
        exposure: darkest and brightest mean level of a field, as a fraction of the camera's white.
        full_well_electrons: electrons of a white pixel; the fewer, the stronger the shot noise.
        read_noise_electrons: camera noise without light.

    Raises:
        ValueError: a value outside its range; the message names it.
    """

    image_wh: tuple[int, int] = (640, 640)
    um_per_px: float = 0.6
    bit_depth: int = 8
    ctc: CellPopulation = CTC_POPULATION
    wbc: CellPopulation = WBC_POPULATION
    ctc_count: tuple[int, int] = (1, 6)
    wbc_count: tuple[int, int] = (6, 16)
    blank_fraction: float = 0.1
    touching_fraction: float = 0.25
    debris_count: tuple[int, int] = (10, 40)
    focus_um: float = -2.5
    defocus_sd_um: float = 2.0
    unevenness: float = 0.3
    exposure: tuple[float, float] = (0.5, 0.68)
    full_well_electrons: float = 9000.0
    read_noise_electrons: float = 12.0

    def __post_init__(self) -> None:
        if len(self.image_wh) != 2 or min(self.image_wh) < 16:
            raise ValueError(f"`image_wh` must be width and height of at least 16 px. Received: {self.image_wh}")
        if self.bit_depth not in BIT_DEPTHS:
            raise ValueError(f"`bit_depth` must be one of {BIT_DEPTHS}. Received: {self.bit_depth}")
        for name in ("um_per_px", "full_well_electrons"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0. Received: {getattr(self, name)}")
        for name in ("defocus_sd_um", "read_noise_electrons"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0. Received: {getattr(self, name)}")
        if not math.isfinite(self.focus_um):
            raise ValueError(f"`focus_um` must be a finite number. Received: {self.focus_um}")
        for name in ("blank_fraction", "touching_fraction", "unevenness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {getattr(self, name)}")
        for name in ("ctc_count", "wbc_count", "debris_count"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"`{name}` must be two whole numbers, fewest first. Received: {getattr(self, name)}")
        smallest_px = min(self.ctc.diameter_range_um[0], self.wbc.diameter_range_um[0]) / self.um_per_px
        if smallest_px < 4:
            raise ValueError(
                f"`um_per_px` must leave the smallest cell at least 4 px. Received: {self.um_per_px}, which leaves "
                f"{smallest_px:.1f} px"
            )
        if not 0 < self.exposure[0] <= self.exposure[1] <= 1:
            raise ValueError(f"`exposure` must be two fractions of white, darkest first. Received: {self.exposure}")

    @property
    def white_level(self) -> int:
        """Largest value of a pixel."""
        return 2**self.bit_depth - 1

    def hard(self) -> BrightfieldPhantomConfig:
        """The hard mode: both classes equal in size, outline, refraction and nucleus; only the texture differs."""
        texture = self.wbc.traits
        shared = replace(self.ctc, diameter_um=12.0, diameter_sd_um=1.5, diameter_range_um=(8.0, 16.0))
        traits = replace(shared.traits, grain_um=texture.grain_um, grain_contrast=texture.grain_contrast)
        return replace(self, ctc=shared, wbc=replace(shared, traits=traits))
