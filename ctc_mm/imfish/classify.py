"""The imFISH rule on a field: streamed tile by tile, with the same result however the field is cut.

Paper imfish-cnn-2022, "Detection Standard of CTCs" and "Image Preprocessing"; readings 15 and 16.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ctc_mm.formats.report import Progress, no_progress
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imfish.first_pass import BLOCK_PX, measure_thresholds, tiles_of
from ctc_mm.imfish.measure import Measurement
from ctc_mm.imfish.records import FieldResult, NucleusRecord
from ctc_mm.imfish.settings import ImFISHSettings
from ctc_mm.imfish.thresholds import ImFISHThresholds
from ctc_mm.imfish.tiles import TileReader
from ctc_mm.imfish.verdict import give_verdicts

MOST_WORKERS = 8


def classify_nuclei(
    dapi: np.ndarray,
    cep8: np.ndarray,
    cd45: np.ndarray | None,
    *,
    mode: str | None = None,
    method: str | None = None,
    um_per_px: float | None = None,
    settings: ImFISHSettings | None = None,
    thresholds: ImFISHThresholds | None = None,
) -> list[NucleusRecord]:
    """Judge the nuclei of a field that is in memory.

    Args:
        dapi: nuclei (H, W), uint8, uint16 or float.
        cep8: signals of the centromere of chromosome 8, likewise.
        cd45: marker of white blood cells, likewise; None in ``paper`` mode.
        mode: ``full`` or ``paper`` (signals only); None: that of ``settings``.
        method: how nuclei are found; None: that of ``settings``.
        um_per_px: size of a pixel; None takes that of ``thresholds``, or finds it from the nuclei.
        settings: further choices.
        thresholds: those of another run on this field; None measures them.

    Returns:
        One record a nucleus, by its first pixel: record i is label i + 1 of ``segment_nuclei``.

    Raises:
        ValueError: channels of different size, no pixel, NaN pixels, no CD45 in ``full`` mode, thresholds of a field of
            another size or taken for another ``um_per_px``.
        TypeError: pixels of another type.
    """
    channels = {"dapi": dapi, "cep8": cep8} | ({} if cd45 is None else {"cd45": cd45})
    with field_from_arrays(channels, um_per_px=um_per_px) as field:
        side = max(field.size_wh)
        result = classify_field(
            field,
            mode=mode,
            method=method,
            um_per_px=um_per_px,
            settings=settings,
            thresholds=thresholds,
            tile_px=-(-side // BLOCK_PX) * BLOCK_PX,
            workers=1,
        )
    return list(result.records)


def classify_field(
    field: Field,
    *,
    mode: str | None = None,
    method: str | None = None,
    um_per_px: float | None = None,
    settings: ImFISHSettings | None = None,
    thresholds: ImFISHThresholds | None = None,
    tile_px: int = 2048,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> FieldResult:
    """Judge the nuclei of a field, reading it tile by tile.

    The levels of the whole field are measured in a first pass, the nuclei in a second, the verdicts are given last.
    Each nucleus belongs to the tile that holds its first pixel, and is measured where its whole surroundings are in
    memory, so that neither ``tile_px`` nor ``workers`` changes a bit of the result.

    Args:
        field: with channels named ``dapi``, ``cep8`` and, in ``full`` mode, ``cd45``.
        mode: ``full`` or ``paper`` (signals only); None: that of ``settings``.
        method: how nuclei are found; None: that of ``settings``. Only ``robust`` works by tiles; for the others the
            whole DAPI channel is read at once.
        um_per_px: size of a pixel; None takes that of ``thresholds`` or of the field, or finds it from the nuclei.
        settings: further choices.
        thresholds: those of another run on this field; None measures them.
        tile_px: side of the tiles, a multiple of 256 px.
        workers: threads; None: one a core, at most ``MOST_WORKERS``.
        progress: wraps the tiles of both passes, as ``ctc_mm.cli.progress`` does.

    Raises:
        ValueError: a channel is missing, ``um_per_px``, ``tile_px`` or ``workers`` cannot be used, thresholds of a
            field of another size or taken for another ``um_per_px``.
        ImageReadError: pixels that are damaged or not finite.
    """
    settings = _choose(settings, thresholds, mode, method)
    _check_request(field, settings, tile_px, workers)
    _check_scale(um_per_px, thresholds)
    if thresholds is not None and thresholds.spots.size_wh != field.size_wh:
        raise ValueError(
            f"{field.name}: `thresholds` are those of a field of {thresholds.spots.size_wh} px, this one has "
            f"{field.size_wh}"
        )
    threads = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    if thresholds is None:
        thresholds = measure_thresholds(field, settings, um_per_px or field.um_per_px, threads, progress)
    reader = TileReader(field, thresholds)
    tiles = tiles_of(field.size_wh, tile_px)
    measurements: list[Measurement] = []
    with ThreadPoolExecutor(threads) as pool:
        for found in _in_order(progress, pool.map(reader.measure_tile, tiles), len(tiles), field.name):
            measurements += found
    measurements.sort(key=lambda one: one.first_yx)
    records, thresholds = give_verdicts(measurements, thresholds)
    scale = thresholds.um_per_px if thresholds.um_per_px_source == "image" else None
    return FieldResult(field.name, field.size_wh, scale, thresholds, records)


def _in_order(
    progress: Progress, results: Iterator[list[Measurement]], count: int, name: str
) -> Iterator[list[Measurement]]:
    """Results in the order of the tiles, with the progress bar running along."""
    for _ in progress(range(count), f"{name}: nuclei"):
        yield next(results)


def _choose(
    settings: ImFISHSettings | None, thresholds: ImFISHThresholds | None, mode: str | None, method: str | None
) -> ImFISHSettings:
    """The settings in force.

    Raises:
        ValueError: settings that differ from those the thresholds were measured with.
    """
    chosen = settings or (thresholds.settings if thresholds else ImFISHSettings())
    chosen = replace(chosen, mode=mode or chosen.mode, method=method or chosen.method)
    if thresholds is not None and thresholds.settings != chosen:
        raise ValueError(
            "`thresholds` were measured with other settings; leave out `settings`, `mode` and `method`, or the "
            f"thresholds. Received: {chosen} and {thresholds.settings}"
        )
    return chosen


def _check_request(field: Field, settings: ImFISHSettings, tile_px: int, workers: int | None) -> None:
    needed = ("dapi", "cep8", "cd45") if settings.mode == "full" else ("dapi", "cep8")
    missing = [name for name in needed if name not in field.channels]
    if missing:
        cure = "; without a CD45 image only mode 'paper' (signals alone) is possible" if missing == ["cd45"] else ""
        raise ValueError(
            f"{field.name}: no channel {', '.join(missing)} among {', '.join(field.channels)}; name the channels, such "
            f"as dapi=0,cep8=1,cd45=2{cure}"
        )
    if tile_px < BLOCK_PX or tile_px % BLOCK_PX:
        raise ValueError(f"`tile_px` must be a multiple of {BLOCK_PX}. Received: {tile_px}")
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be at least 1. Received: {workers}")


def _check_scale(um_per_px: float | None, thresholds: ImFISHThresholds | None) -> None:
    if um_per_px is None:
        return
    if not (math.isfinite(um_per_px) and um_per_px > 0):
        raise ValueError(f"`um_per_px` must be a positive number. Received: {um_per_px}")
    if thresholds is not None and thresholds.um_per_px != um_per_px:
        raise ValueError(
            f"`thresholds` were taken at {thresholds.um_per_px} um per pixel; leave out `um_per_px`, or the "
            f"thresholds. Received: {um_per_px}"
        )
