"""How a bright-field microscope and its camera turn objects into grey values: the part that phantoms share.

A synthetic model: good enough to exercise software, no evidence about real specimens.
"""

from __future__ import annotations

import math

import numpy as np


def frequency_grid(side_px: int, um_per_px: float) -> np.ndarray:
    """Spatial frequency of each element of ``np.fft.rfft2`` of a square patch, (side, side // 2 + 1) in 1/um."""
    vertical = np.fft.fftfreq(side_px, um_per_px)[:, None]
    horizontal = np.fft.rfftfreq(side_px, um_per_px)[None, :]
    return np.hypot(vertical, horizontal).astype(np.float32)


def image_weak_objects(
    phase_rad: np.ndarray,
    absorbance: np.ndarray,
    defocus_um: np.ndarray,
    um_per_px: float,
    *,
    wavelength_um: float = 0.55,
    na_objective: float = 0.4,
    na_condenser: float = 0.12,
) -> np.ndarray:
    """Relative intensity behind thin, weakly refracting and absorbing objects, each at its own defocus.

    Contrast transfer of a weak object: absorption shows with cos(chi), phase with sin(chi), chi = pi lambda z f^2.
    That gives defocus, bright and dark halos and their change of sign through focus. The size of the condenser's
    aperture damps the fringes, the objective's aperture cuts fine detail.

    Args:
        phase_rad: (N, P, P) phase delay of each object on its patch.
        absorbance: (N, P, P) natural logarithm of the loss of light.
        defocus_um: (N,) distance from focus, either sign.
        um_per_px: size of a pixel.
        wavelength_um: of the light.
        na_objective: numerical aperture of the objective (x20: 0.4).
        na_condenser: numerical aperture of the illumination; small ones give long fringes.

    Returns:
        (N, P, P) float32, 1 where nothing is.
    """
    frequency = frequency_grid(phase_rad.shape[-1], um_per_px)
    defocus = np.asarray(defocus_um, np.float32)[:, None, None]
    chi = np.float32(np.pi * wavelength_um) * defocus * frequency**2
    coherence = np.exp(-((np.pi * na_condenser * defocus * frequency) ** 2))
    aperture = np.exp(-((frequency * wavelength_um / (na_objective + na_condenser)) ** 2))
    spectrum = 2 * np.sin(chi) * np.fft.rfft2(phase_rad) - np.cos(chi) * np.fft.rfft2(absorbance)
    contrast = np.fft.irfft2(spectrum * coherence * aperture, s=phase_rad.shape[-2:])
    # The exponential keeps strong objects positive, where the linear model would go below darkness.
    return np.exp(contrast).astype(np.float32)


def uneven_illumination(shape_hw: tuple[int, int], unevenness: float, rng: np.random.Generator) -> np.ndarray:
    """Light field of a badly centred lamp: a gradient, a vignette off the centre and faint blotches, mean 1.

    Args:
        shape_hw: height and width in pixels.
        unevenness: about the brightest minus the darkest place, as a fraction of the mean.
        rng: source of randomness.

    Returns:
        (H, W) float32.
    """
    height, width = shape_hw
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slope, direction = rng.uniform(0.2, 0.5), rng.uniform(0, 2 * np.pi)
    # Python floats: NumPy's own would turn every array below into float64.
    centre_y, centre_x = rng.uniform(-0.4, 0.4, 2).tolist()
    light = slope * (math.cos(direction) * x + math.sin(direction) * y)
    light -= 0.35 * ((y - centre_y) ** 2 + (x - centre_x) ** 2)
    for _ in range(4):
        waves_y, waves_x = rng.uniform(-2.5, 2.5, 2).tolist()
        phase = rng.uniform(0, 2 * np.pi)
        # sin(a + b) from rows and columns: two products a pixel instead of a sine.
        along_y, along_x = np.pi * waves_y * y + phase, np.pi * waves_x * x
        light += 0.03 * (np.sin(along_y) * np.cos(along_x) + np.cos(along_y) * np.sin(along_x))
    return (1 + unevenness * (light - light.mean())).astype(np.float32)


def expose(
    light: np.ndarray,
    bit_depth: int,
    rng: np.random.Generator,
    *,
    full_well_electrons: float,
    read_noise_electrons: float,
) -> np.ndarray:
    """Camera: shot noise and read noise, then digits.

    Args:
        light: (H, W) light as a fraction of what saturates the camera.
        bit_depth: 8 gives uint8; 10 to 16 give uint16 that reaches 2 ** bit_depth - 1.
        rng: source of randomness.
        full_well_electrons: electrons of a saturated pixel; the fewer, the noisier.
        read_noise_electrons: standard deviation of the noise without light.

    Returns:
        (H, W) uint8 or uint16; what is too bright saturates.
    """
    electrons = np.maximum(light, 0) * full_well_electrons
    # Shot noise of hundreds of electrons and more is normal to the eye and to every test.
    spread = np.sqrt(electrons + read_noise_electrons**2)
    electrons = electrons + spread * rng.standard_normal(light.shape, dtype=np.float32)
    white = 2**bit_depth - 1
    digits = np.clip(np.rint(electrons * (white / full_well_electrons)), 0, white)
    return digits.astype(np.uint8 if bit_depth == 8 else np.uint16)
