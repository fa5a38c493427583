"""First pass over a field: the levels of its channels, and the size of a pixel where the image does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np

from ctc_mm.formats.report import Progress, no_progress
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.nuclei import NUCLEUS_HALO_PX, NucleusLevels, NucleusLevelsPass, segment_nuclei
from ctc_mm.imaging.spot_filters import MAX_DIAMETER_PX, MIN_DIAMETER_PX
from ctc_mm.imaging.spots import SpotLevelsPass
from ctc_mm.imfish.cd45 import CD45LevelsPass
from ctc_mm.imfish.settings import USUAL_UM_PER_PX, ImFISHSettings
from ctc_mm.imfish.thresholds import ImFISHThresholds

BLOCK_PX = 256
FIRST_PASS_TILE_PX = 2048
# Where the size of a pixel is unknown, it is the one that makes the median nucleus of the field this wide: most nuclei
# on a slide are those of white blood cells.
TYPICAL_NUCLEUS_UM = 8.5
# Windows of the field that are looked at for it, their side, and the fewest nuclei to rely on.
SCALE_WINDOWS, SCALE_WINDOW_PX, SCALE_NUCLEI = 16, 512, 5
# Smaller objects are noise whatever the scale (the truth of BBBC039 and DSB2018 begins at about 6 px across).
_SMALLEST_AREA_PX = 28

Region = tuple[int, int, int, int]


def tiles_of(size_wh: tuple[int, int], tile_px: int) -> list[Region]:
    """Half-open regions of ``tile_px`` that cover a field, row by row."""
    width, height = size_wh
    return [
        (x, y, min(x + tile_px, width), min(y + tile_px, height))
        for y in range(0, height, tile_px)
        for x in range(0, width, tile_px)
    ]


def measure_thresholds(
    field: Field,
    settings: ImFISHSettings,
    um_per_px: float | None,
    workers: int,
    progress: Progress = no_progress,
    seen: Callable[[str, np.ndarray, Region], None] | None = None,
) -> ImFISHThresholds:
    """Levels of the channels, each tile of each channel read once.

    Args:
        field: with the channels ``dapi``, ``cep8`` and, in ``full`` mode, ``cd45``.
        settings: the user's.
        um_per_px: size of a pixel; None finds it from the nuclei.
        workers: threads.
        progress: wraps the tiles.
        seen: called with channel, pixels and place of every tile that is read, by one thread at a time for a channel.
    """
    spot_px = None
    if settings.spot_diameter_um is not None and um_per_px is not None:
        spot_px = min(max(settings.spot_diameter_um / um_per_px, MIN_DIAMETER_PX), MAX_DIAMETER_PX)
    passes = {"cep8": SpotLevelsPass(field.size_wh, field.dtype, spot_px)}
    if settings.method == "robust":
        passes["dapi"] = NucleusLevelsPass(field.size_wh, field.dtype)
    if settings.mode == "full":
        passes["cd45"] = CD45LevelsPass(field.size_wh)
    locks = {channel: Lock() for channel in passes}

    def scan(channel: str, tile: Region) -> None:
        pixels = field.read([channel], tile)[0]
        with locks[channel]:
            passes[channel].add(pixels, tile[:2])
            if seen is not None:
                seen(channel, pixels, tile)

    jobs = [(channel, tile) for tile in tiles_of(field.size_wh, FIRST_PASS_TILE_PX) for channel in passes]
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda job: scan(*job), jobs)
        for _ in progress(jobs, f"{field.name}: levels"):
            next(done)
    levels = {channel: one.result() for channel, one in passes.items()}
    scale, source = um_per_px, "image"
    if um_per_px is None:
        scale, source = _scale_from_nuclei(field, settings, levels.get("dapi"))
    return ImFISHThresholds(
        settings, scale, source, nuclei=levels.get("dapi"), spots=levels["cep8"], cd45=levels.get("cd45")
    )


def _scale_from_nuclei(field: Field, settings: ImFISHSettings, levels: NucleusLevels | None) -> tuple[float, str]:
    """Micrometres per pixel from the median nucleus in windows spread over the field; they do not depend on tiles."""
    areas: list[int] = []
    for region in _scale_windows(field.size_wh):
        dapi = field.read(["dapi"], region)[0]
        labels = segment_nuclei(dapi, settings.method, levels=levels, origin_xy=region[:2])
        margin = NUCLEUS_HALO_PX // 2
        inner = np.unique(labels[margin:-margin, margin:-margin] if min(labels.shape) > 4 * margin else labels)
        areas += [count for label, count in enumerate(np.bincount(labels.ravel())) if label and label in inner]
    areas = [area for area in areas if area >= _SMALLEST_AREA_PX]
    if len(areas) < SCALE_NUCLEI:
        return USUAL_UM_PER_PX, "assumed"
    return TYPICAL_NUCLEUS_UM / (2 * float(np.sqrt(np.median(areas) / np.pi))), "nuclei"


def _scale_windows(size_wh: tuple[int, int]) -> Iterator[Region]:
    """Windows on the grid of blocks, evenly spread; all of a small field."""
    starts = []
    for side in size_wh:
        last = max(side - SCALE_WINDOW_PX, 0) // BLOCK_PX * BLOCK_PX
        places = {round(part * last / BLOCK_PX) * BLOCK_PX for part in np.linspace(0, 1, int(SCALE_WINDOWS**0.5))}
        starts.append(sorted(places))
    for y in starts[1]:
        for x in starts[0]:
            yield x, y, min(x + SCALE_WINDOW_PX, size_wh[0]), min(y + SCALE_WINDOW_PX, size_wh[1])
