"""Where the cells of a synthetic imFISH field lie and how they shine, before any camera.

A synthetic model: good enough to exercise software, no evidence about real cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.phantoms.cell_shapes import ObjectStack, ObjectTraits, make_objects
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig
from ctc_mm.phantoms.placement import place_discs

DAPI, CEP8, CD45 = range(3)
CTC, WBC, OTHER = range(3)

# Blur of objective and camera in focus; CEP8 signals have their own width.
_OPTICS_UM = 0.15
_MEMBRANE_UM = 0.45
# Centres of chromosomes keep apart in the nucleus, in three dimensions; seen from above they may still lie together.
_TERRITORY_UM = 1.5
# A nucleus dried on a slide is flat.
_FLATNESS = 0.3
_SIGNAL_SPREAD = 0.25
_OUT_OF_FOCUS_UM = (1.5, 3.0)


@dataclass(frozen=True)
class CellLayout:
    """N cells with their places; arrays of N rows.

    Attributes:
        centres_yx: (N, 2) float32 middles of the nuclei, in pixels from the field's corner.
        radii_px: float32 mean radii of the nuclei.
        cell_radii_px: float32 mean radii of the cells.
        population: int64, index into the config's populations.
        is_single: bool, no member of an overlap or aggregate.
        defocus_um: float32 blur that comes from the distance to the plane of focus.
        in_focus: bool.
        unplaced: cells for which there was no room.
    """

    centres_yx: np.ndarray
    radii_px: np.ndarray
    cell_radii_px: np.ndarray
    population: np.ndarray
    is_single: np.ndarray
    defocus_um: np.ndarray
    in_focus: np.ndarray
    unplaced: int


@dataclass(frozen=True)
class Signals:
    """S CEP8 signals: places (S, 2) in pixel indices, widths (S,) as seen in pixels, brightness (S,), nucleus (S,)."""

    spots_yx: np.ndarray
    sigmas_px: np.ndarray
    peaks: np.ndarray
    nuclei: np.ndarray


def lay_out_cells(config: ImFISHPhantomConfig, rng: np.random.Generator, *, keep_inside: bool) -> CellLayout:
    """Draw cells, pairs and clumps and put them into the field.

    Args:
        config: how the field looks.
        rng: source of randomness.
        keep_inside: True leaves a free margin, so that no cell is cut by the field's edge.
    """
    groups = _draw_groups(config, rng)
    population = np.concatenate([np.zeros(0, np.int64), *groups])
    radii = np.zeros(len(population))
    cell_radii = np.zeros(len(population))
    for index, kind in enumerate(config.populations):
        mine = population == index
        radii[mine] = kind.draw_diameters_um(int(mine.sum()), rng) / 2 / config.um_per_px
        cell_radii[mine] = radii[mine] * rng.uniform(*kind.cytoplasm_ratio, int(mine.sum()))
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    offsets = np.zeros((len(population), 2))
    reaches = np.zeros(len(groups), np.float32)
    for index in range(len(groups)):
        mine = owner == index
        offsets[mine] = _clump(radii[mine], rng)
        reaches[index] = (np.linalg.norm(offsets[mine], axis=1) + cell_radii[mine]).max()
    margin = int(np.ceil(reaches.max(initial=0) * 1.2)) if keep_inside else 0
    width, height = (max(side - 2 * margin, 16) for side in config.image_wh)
    middles, placed = place_discs(reaches, (width, height), config.touching_fraction, rng)
    keep = placed[owner] if len(owner) else np.zeros(0, bool)
    in_focus = rng.uniform(size=len(population)) >= config.out_of_focus_fraction
    defocus = np.where(
        in_focus, np.abs(rng.normal(0, config.defocus_um, len(keep))), rng.uniform(*_OUT_OF_FOCUS_UM, len(keep))
    )
    return CellLayout(
        centres_yx=(middles[owner] + offsets + margin)[keep].astype(np.float32),
        radii_px=radii[keep].astype(np.float32),
        cell_radii_px=cell_radii[keep].astype(np.float32),
        population=population[keep],
        is_single=np.array([len(groups[one]) == 1 for one in owner], bool)[keep],
        defocus_um=defocus[keep].astype(np.float32),
        in_focus=in_focus[keep],
        unplaced=int((~keep).sum()),
    )


def _draw_groups(config: ImFISHPhantomConfig, rng: np.random.Generator) -> list[np.ndarray]:
    """Populations of the cells that lie together: clumps and pairs first (they need the most room), then single cells.

    Aggregates are WBC with a CTC now and then.
    """
    sizes = [int(rng.integers(3, 7)) for _ in range(rng.integers(*config.aggregate_count, endpoint=True))]
    sizes += [2] * int(rng.integers(*config.overlap_count, endpoint=True))
    groups = [np.where(rng.uniform(size=size) < 0.2, CTC, WBC) for size in sizes]
    counts = [
        int(rng.integers(*bounds, endpoint=True)) for bounds in (config.ctc_count, config.wbc_count, config.other_count)
    ]
    singles = rng.permutation(np.repeat(np.arange(3), counts))
    return groups + [singles[index : index + 1] for index in range(len(singles))]


def _clump(radii_px: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Offsets (n, 2) of nuclei that press into one another, around their middle; a single nucleus has none."""
    offsets = np.zeros((len(radii_px), 2))
    for index in range(1, len(radii_px)):
        best = -1.0
        for _ in range(20):
            partner = int(rng.integers(index))
            angle = rng.uniform(0, 2 * np.pi)
            reach = (radii_px[partner] + radii_px[index]) * rng.uniform(0.6, 0.9)
            place = offsets[partner] + reach * np.array([np.sin(angle), np.cos(angle)])
            gaps = np.linalg.norm(offsets[:index] - place, axis=1) / (radii_px[:index] + radii_px[index])
            if gaps.min() > best:
                best, offsets[index] = gaps.min(), place
            if best >= 0.6:
                break
    return offsets - offsets.mean(axis=0)


def draw_nuclei(layout: CellLayout, config: ImFISHPhantomConfig, rng: np.random.Generator) -> ObjectStack:
    """Shape the nuclei; ``phase_rad`` of the stack is their chromatin."""
    traits = [
        ObjectTraits(config.populations[kind].irregularity, 1.0, 0, 0, grain_um=1.4, grain_contrast=1.0)
        for kind in layout.population
    ]
    return make_objects(layout.centres_yx, layout.radii_px, traits, config.um_per_px, 2.0, rng)


def shine_nuclei(
    light: np.ndarray, nuclei: ObjectStack, layout: CellLayout, config: ImFISHPhantomConfig, rng: np.random.Generator
) -> None:
    """Add DAPI to ``light`` in place."""
    staining = np.array([config.populations[kind].dapi for kind in layout.population])
    staining = staining * rng.lognormal(0, config.stain_spread, len(staining))
    for index, corner_yx in enumerate(nuclei.corners_yx):
        chromatin = np.sqrt(np.maximum(nuclei.phase_rad[index], 0)) * (nuclei.depth[index] > 0)
        _add_blurred(light[DAPI], chromatin * np.float32(staining[index]), corner_yx, layout.defocus_um[index], config)


def shine_cytoplasm(
    light: np.ndarray, layout: CellLayout, config: ImFISHPhantomConfig, rng: np.random.Generator
) -> None:
    """Add CD45 to ``light`` in place: the cell's disc, brighter along its membrane, off the nucleus' middle."""
    count = len(layout.population)
    staining = np.array([config.populations[kind].cd45 for kind in layout.population])
    staining = staining * rng.lognormal(0, 1.5 * config.stain_spread, count)
    free = 0.5 * (layout.cell_radii_px - layout.radii_px) * rng.uniform(0, 1, count)
    direction = rng.uniform(0, 2 * np.pi, count)
    shift = (free * np.stack([np.sin(direction), np.cos(direction)])).T
    traits = [ObjectTraits(0.03, 1.0, 0, 0, grain_um=1.0, grain_contrast=0.0)] * count
    cells = make_objects(
        (layout.centres_yx + shift).astype(np.float32), layout.cell_radii_px, traits, config.um_per_px, 3.0, rng
    )
    for index, corner_yx in enumerate(cells.corners_yx):
        depth = cells.depth[index]
        to_membrane_um = depth * (layout.cell_radii_px[index] * config.um_per_px)
        stain = 0.6 * (depth > 0) + np.exp(-0.5 * (to_membrane_um / _MEMBRANE_UM) ** 2)
        _add_blurred(light[CD45], stain * np.float32(staining[index]), corner_yx, layout.defocus_um[index], config)


def draw_signals(
    nuclei: ObjectStack, layout: CellLayout, config: ImFISHPhantomConfig, rng: np.random.Generator
) -> Signals:
    """Place the CEP8 signals inside the nuclei; none closer to another than a chromosome's territory."""
    spots, sigmas, peaks, owners = [], [], [], []
    for index, kind in enumerate(layout.population):
        count = int(config.populations[kind].draw_cep8(1, rng)[0])
        places = _places_in_nucleus(nuclei, layout, index, count, config.um_per_px, rng)
        in_focus_um = rng.uniform(*config.cep8_sigma_um, count)
        seen_um = np.hypot(in_focus_um, layout.defocus_um[index])
        brightness = config.cep8_peak * rng.lognormal(0, config.stain_spread)
        peaks.append(brightness * rng.lognormal(0, _SIGNAL_SPREAD, count) * (in_focus_um / seen_um) ** 2)
        spots.append(places)
        sigmas.append(seen_um / config.um_per_px)
        owners.append(np.full(count, index, np.int64))
    return Signals(
        spots_yx=np.concatenate([np.zeros((0, 2)), *spots]).astype(np.float32),
        sigmas_px=np.concatenate([np.zeros(0), *sigmas]).astype(np.float32),
        peaks=np.concatenate([np.zeros(0), *peaks]).astype(np.float32),
        nuclei=np.concatenate([np.zeros(0, np.int64), *owners]),
    )


def _places_in_nucleus(
    nuclei: ObjectStack, layout: CellLayout, index: int, count: int, um_per_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Places (count, 2) in pixel indices; the apartness asked for shrinks where a nucleus is too full."""
    apart_px = _TERRITORY_UM / um_per_px
    chosen = np.zeros((0, 3))
    corner, depth = nuclei.corners_yx[index], nuclei.depth[index]
    while len(chosen) < count:
        direction = rng.standard_normal(3)
        place = direction / np.linalg.norm(direction) * rng.uniform() ** (1 / 3) * layout.radii_px[index]
        place *= (1, 1, _FLATNESS)
        y, x = np.floor(layout.centres_yx[index] + place[:2] - corner).astype(int)
        if depth[y, x] < 0.12:
            continue
        if (np.linalg.norm(chosen - place, axis=1) >= apart_px).all():
            chosen = np.concatenate([chosen, place[None]])
        else:
            apart_px *= 0.98
    return layout.centres_yx[index] + chosen[:, :2] - 0.5


def shine_spot(plane: np.ndarray, spot_yx: np.ndarray, sigma_px: float, peak: float) -> None:
    """Add a round Gaussian spot to ``plane`` in place; ``spot_yx`` in pixel indices."""
    reach = int(np.ceil(4 * sigma_px))
    start = np.floor(spot_yx).astype(int) - reach
    rows, columns = (np.arange(2 * reach + 2) + begin - middle for begin, middle in zip(start, spot_yx, strict=True))
    profile_y, profile_x = (np.exp(-0.5 * (line / sigma_px) ** 2) for line in (rows, columns))
    add_patch(plane, (peak * profile_y[:, None] * profile_x[None, :]).astype(np.float32), start)


def add_patch(plane: np.ndarray, patch: np.ndarray, corner_yx: np.ndarray) -> None:
    """Add the part of ``patch`` that lies inside ``plane`` to it, in place."""
    y, x = (int(value) for value in corner_yx)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + patch.shape[0], plane.shape[0]), min(x + patch.shape[1], plane.shape[1])
    if bottom > top and right > left:
        plane[top:bottom, left:right] += patch[top - y : bottom - y, left - x : right - x]


def _add_blurred(
    plane: np.ndarray, patch: np.ndarray, corner_yx: np.ndarray, defocus_um: float, config: ImFISHPhantomConfig
) -> None:
    sigma_px = float(np.hypot(_OPTICS_UM, defocus_um)) / config.um_per_px
    reach = int(np.ceil(3 * sigma_px))
    padded = np.pad(patch.astype(np.float32), reach)
    add_patch(plane, cv2.GaussianBlur(padded, (0, 0), sigma_px), corner_yx - reach)
