"""Synthetic imFISH fields: DAPI, CEP8 and CD45 with exact nuclei, signals and CD45 status.

These images are computed, not taken. They hold what the rule of imfish-cnn-2022 ("Detection Standard of CTCs") has to
tell apart: CTCs, white blood cells, cells with neither CD45 nor a third chromosome 8, nuclei over one another, clumps,
debris, cells out of focus; with bleed-through between the channels and uneven exposure. No claim about real CTCs
follows from any result on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.phantoms.cell_shapes import ObjectStack, ObjectTraits, make_objects
from ctc_mm.phantoms.imfish_config import IMFISH_CHANNELS, ImFISHPhantomConfig
from ctc_mm.phantoms.imfish_scene import (
    CD45,
    CEP8,
    DAPI,
    WBC,
    CellLayout,
    Signals,
    add_patch,
    draw_nuclei,
    draw_signals,
    lay_out_cells,
    shine_cytoplasm,
    shine_nuclei,
    shine_spot,
)
from ctc_mm.phantoms.imfish_truth import ImFISHTruth, resolvable_count
from ctc_mm.phantoms.instances import label_instances, tight_boxes
from ctc_mm.phantoms.optics import expose, uneven_illumination

# Specks of the probe on the glass keep this far from nuclei: nearer ones could not be told from signals.
_SPECK_GAP_PX = 9


@dataclass(frozen=True)
class ImFISHField:
    """One synthetic field and its exact truth; row i of ``truth`` is label i + 1 of ``instances``.

    Attributes:
        image_cyx: (3, H, W) uint8 or uint16, in the order of ``channels``.
        instances: (H, W) int32, 0 background, i + 1 nucleus i; where nuclei overlap, the one a pixel lies deeper in.
        truth: nuclei and signals.
        um_per_px: size of a pixel.
        white_level: largest value of a pixel.
        unplaced: cells that were drawn but found no room in the field.
        channels: names of the channels.
    """

    image_cyx: np.ndarray
    instances: np.ndarray
    truth: ImFISHTruth
    um_per_px: float
    white_level: int
    unplaced: int
    channels: tuple[str, ...] = IMFISH_CHANNELS

    def channel(self, name: str) -> np.ndarray:
        """One channel (H, W) by its name."""
        return self.image_cyx[self.channels.index(name)]


@dataclass(frozen=True)
class ImFISHScene:
    """What lies on the slide: light of the cells (3, H, W) float32 as a fraction of white, before background."""

    light: np.ndarray
    instances: np.ndarray
    truth: ImFISHTruth
    unplaced: int


def generate_imfish_field(config: ImFISHPhantomConfig, rng: np.random.Generator) -> ImFISHField:
    """Draw one field.

    Args:
        config: how it looks.
        rng: source of randomness; its state decides every pixel.

    Raises:
        TypeError: ``rng`` is no ``numpy.random.Generator``.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"`rng` must be a numpy.random.Generator (np.random.default_rng(seed)). Received: {type(rng)}")
    scene = draw_scene(config, rng)
    image = np.empty(scene.light.shape, np.uint8 if config.bit_depth == 8 else np.uint16)
    for index, light in enumerate(scene.light):
        exposure = uneven_illumination(light.shape, config.unevenness, rng) * rng.uniform(*config.exposure)
        background = rng.uniform(*config.background)
        image[index] = take_picture(light, np.float32(background), exposure, config, rng)
    return ImFISHField(
        image, scene.instances, scene.truth, config.um_per_px, config.white_level, scene.unplaced, IMFISH_CHANNELS
    )


def take_picture(
    light: np.ndarray,
    background: np.float32,
    exposure: np.ndarray,
    config: ImFISHPhantomConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Expose one channel (H, W) of a scene: its light and the background, unevenly lit, with the noise of the camera.

    Returns:
        (H, W) uint8 or uint16.
    """
    return expose(
        (light + background) * exposure,
        config.bit_depth,
        rng,
        full_well_electrons=config.full_well_electrons,
        read_noise_electrons=config.read_noise_electrons,
    )


def draw_scene(config: ImFISHPhantomConfig, rng: np.random.Generator, *, keep_inside: bool = False) -> ImFISHScene:
    """Draw cells, signals and debris, with the light of each channel that is seen in the others.

    Args:
        config: how the field looks.
        rng: source of randomness.
        keep_inside: True leaves a free margin, so that no cell is cut by the field's edge.
    """
    width, height = config.image_wh
    light = np.zeros((3, height, width), np.float32)
    layout = lay_out_cells(config, rng, keep_inside=keep_inside)
    nuclei = draw_nuclei(layout, config, rng)
    instances = label_instances(nuclei, (height, width))
    signals = draw_signals(nuclei, layout, config, rng)
    if len(layout.population):
        shine_nuclei(light, nuclei, layout, config, rng)
        shine_cytoplasm(light, layout, config, rng)
    for spot_yx, sigma_px, peak in zip(signals.spots_yx, signals.sigmas_px, signals.peaks, strict=True):
        shine_spot(light[CEP8], spot_yx, float(sigma_px), float(peak))
    _add_debris(light, instances, config, rng)
    seen = np.tensordot(np.array(config.bleed_through, np.float32).T, light, axes=1)
    truth = _truth_of(layout, nuclei, signals, instances, config)
    return ImFISHScene(seen, instances, truth, layout.unplaced)


def _truth_of(
    layout: CellLayout, nuclei: ObjectStack, signals: Signals, instances: np.ndarray, config: ImFISHPhantomConfig
) -> ImFISHTruth:
    count = len(layout.population)
    height, width = instances.shape
    pixels = np.bincount(instances.ravel(), minlength=count + 1)[1:]
    boxes = tight_boxes(instances, count)
    boxes[pixels == 0] = np.nan
    with np.errstate(invalid="ignore"):
        sums = [_sums_by_label(instances, axis, count) for axis in (0, 1)]
        centroids = np.stack([total / pixels for total in sums], axis=1).astype(np.float32)
        on_border = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= (width, height)).any(axis=1)
    mine = [np.flatnonzero(signals.nuclei == index) for index in range(count)]
    return ImFISHTruth(
        boxes_xyxy=boxes,
        centroids_yx=centroids,
        population=layout.population,
        diameters_um=(2 * layout.radii_px * config.um_per_px).astype(np.float32),
        cd45_positive=layout.population == WBC,
        cep8_counts=np.array([len(rows) for rows in mine], np.int64),
        cep8_resolvable=np.array(
            [resolvable_count(signals.spots_yx[rows], signals.sigmas_px[rows]) for rows in mine], np.int64
        ),
        is_single=layout.is_single,
        on_border=on_border | (pixels == 0),
        in_focus=layout.in_focus,
        spots_yx=signals.spots_yx,
        spot_nuclei=signals.nuclei,
    )


def _sums_by_label(instances: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Sum of the row (axis 0) or column (axis 1) index over each label's pixels, float64 (count,)."""
    place = np.broadcast_to(np.expand_dims(np.arange(instances.shape[axis]), 1 - axis), instances.shape)
    return np.bincount(instances.ravel(), weights=place.ravel(), minlength=count + 1)[1:]


def _add_debris(
    light: np.ndarray, instances: np.ndarray, config: ImFISHPhantomConfig, rng: np.random.Generator
) -> None:
    """Add what is no cell to ``light`` in place: fragments, smears, dust, platelets, specks of the probe."""
    count = int(rng.integers(*config.debris_count, endpoint=True))
    kinds = rng.choice(5, count, p=(0.25, 0.1, 0.1, 0.2, 0.35))
    # Each kind: least and largest radius in um, outline, brightness in the three channels.
    shapes = (
        (0.5, 1.3, 0.15, (0.25, 0, 0)),
        (4.0, 8.0, 0.30, (0.04, 0.01, 0.01)),
        (0.8, 2.5, 0.25, (0.15, 0.12, 0.12)),
        (0.7, 1.6, 0.10, (0, 0, 0.10)),
    )
    height, width = instances.shape
    for kind in kinds.tolist():
        place_yx = rng.uniform((0, 0), (height, width)).astype(np.float32)
        brightness = rng.lognormal(0, 0.4)
        if kind < len(shapes):
            low, high, irregularity, colours = shapes[kind]
            traits = ObjectTraits(irregularity, 1.0, 0, 0, grain_um=1.0, grain_contrast=0.8)
            radius_px = np.array([rng.uniform(low, high) / config.um_per_px], np.float32)
            shape = make_objects(place_yx[None], radius_px, [traits], config.um_per_px, 1.0, rng)
            patch = cv2.GaussianBlur(np.maximum(shape.phase_rad[0], 0), (0, 0), 0.3 / config.um_per_px)
            for channel in (DAPI, CEP8, CD45):
                add_patch(light[channel], patch * np.float32(colours[channel] * brightness), shape.corners_yx[0])
            continue
        y, x = place_yx.astype(int)
        around = instances[max(y - _SPECK_GAP_PX, 0) : y + _SPECK_GAP_PX, max(x - _SPECK_GAP_PX, 0) : x + _SPECK_GAP_PX]
        if not around.any():
            sigma_px = rng.uniform(*config.cep8_sigma_um) / config.um_per_px
            shine_spot(light[CEP8], place_yx, sigma_px, config.cep8_peak * brightness)
