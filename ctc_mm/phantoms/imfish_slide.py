"""Synthetic imFISH images on disk: patients with a few fields each, and a large field written piece by piece.

The large field is a few scenes laid side by side in many ways. Each place has exposure and noise of its own; the cells
repeat, turned and mirrored. No claim about real CTCs follows from these images.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from ctc_mm.formats.files import atomic_path
from ctc_mm.imaging.io import write_ome_tiff
from ctc_mm.phantoms.imfish import ImFISHScene, draw_scene, generate_imfish_field, take_picture
from ctc_mm.phantoms.imfish_config import IMFISH_CHANNELS, ImFISHPhantomConfig
from ctc_mm.phantoms.imfish_truth import ORIENTATIONS, ImFISHTruth, join_truths, orient
from ctc_mm.phantoms.optics import uneven_illumination

# The exposure of a large field is drawn this coarsely and interpolated.
_EXPOSURE_STEP_PX = 64
_FILE_TILE_PX = 256


def write_imfish_fields(
    out_dir: str | Path,
    fields_per_patient: Mapping[str, int],
    config: ImFISHPhantomConfig | None = None,
    seed: int = 0,
) -> dict[str, ImFISHTruth]:
    """Write ``out_dir/<patient>/<patient>_f01.ome.tif`` and so on, as a lab would hand them over.

    Each field has a random stream of its own, made of seed, patient and number: more fields leave the others as they
    are.

    Args:
        out_dir: made if missing.
        fields_per_patient: number of fields of each patient.
        config: how the fields look.
        seed: at least 0.

    Returns:
        The truth of each field by its path relative to ``out_dir``.
    """
    config = config or ImFISHPhantomConfig()
    truths = {}
    for patient, count in fields_per_patient.items():
        for index in range(count):
            field = generate_imfish_field(config, np.random.default_rng([seed, zlib.crc32(patient.encode()), index]))
            name = f"{patient}/{patient}_f{index + 1:02d}.ome.tif"
            write_ome_tiff(Path(out_dir) / name, field.image_cyx, field.channels, field.um_per_px)
            truths[name] = field.truth
    return truths


def write_imfish_slide(
    path: str | Path,
    size_wh: tuple[int, int] = (10_000, 10_000),
    config: ImFISHPhantomConfig | None = None,
    seed: int = 0,
    *,
    block_px: int = 1000,
    scenes: int = 6,
) -> ImFISHTruth:
    """Write a tiled OME-TIFF (BigTIFF where it has to be) of three channels; the same arguments give the same bytes.

    Only one row of the file's tiles is in memory at a time, beside the scenes.

    Args:
        path: file to write, ``.ome.tif``.
        size_wh: width and height in pixels, multiples of ``block_px``.
        config: how the field looks; its ``image_wh`` is not used.
        seed: at least 0.
        block_px: side of a scene. Cells keep inside their scene, so that none is cut where two scenes meet.
        scenes: number of different scenes; more take longer to draw.

    Returns:
        The truth of the whole field.

    Raises:
        ValueError: a size that is no multiple of ``block_px``, no scene, or a block too small for cells.
    """
    if min(size_wh) < block_px or any(side % block_px for side in size_wh) or block_px < 256 or scenes < 1:
        raise ValueError(
            "`size_wh` must be multiples of `block_px`, which is at least 256 px, and `scenes` at least 1. "
            f"Received: {size_wh}, {block_px}, {scenes}"
        )
    config = replace(config or ImFISHPhantomConfig(), image_wh=(block_px, block_px))
    rng = np.random.default_rng([seed, 0])
    drawn = [draw_scene(config, rng, keep_inside=True) for _ in range(scenes)]
    rows_columns = (size_wh[1] // block_px, size_wh[0] // block_px)
    plan = np.stack([rng.integers(scenes, size=rows_columns), rng.integers(ORIENTATIONS, size=rows_columns)], axis=-1)
    _write_tiles(Path(path), size_wh, config, seed, _Mosaic(drawn, plan, block_px))
    return join_truths(
        [
            drawn[scene].truth.oriented(int(way), block_px).shifted((column * block_px, row * block_px))
            for row, line in enumerate(plan)
            for column, (scene, way) in enumerate(line)
        ]
    )


class _Mosaic:
    """Light of the laid-out scenes, given by rows."""

    def __init__(self, scenes: list[ImFISHScene], plan: np.ndarray, block_px: int) -> None:
        self.scenes, self.plan, self.block_px = scenes, plan, block_px

    def rows(self, channel: int, top: int, bottom: int) -> np.ndarray:
        """Rows ``top`` to ``bottom`` of a channel, float32 (bottom - top, W)."""
        parts = []
        for row in range(top // self.block_px, -(-bottom // self.block_px)):
            start = row * self.block_px
            cut = slice(max(top - start, 0), min(bottom - start, self.block_px))
            line = [orient(self.scenes[scene].light[channel], int(way))[cut] for scene, way in self.plan[row]]
            parts.append(np.concatenate(line, axis=1))
        return np.concatenate(parts, axis=0)


def _write_tiles(path: Path, size_wh: tuple[int, int], config: ImFISHPhantomConfig, seed: int, mosaic: _Mosaic) -> None:
    width, height = size_wh
    dtype = np.uint8 if config.bit_depth == 8 else np.uint16
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": list(IMFISH_CHANNELS)},
        "PhysicalSizeX": config.um_per_px,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": config.um_per_px,
        "PhysicalSizeYUnit": "µm",
        # One of the content: the writer's own would hold the time.
        "UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, repr((size_wh, config, seed, mosaic.plan.tolist())))}",
    }
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            (tile for channel in range(3) for tile in _tiles(channel, size_wh, config, seed, mosaic)),
            shape=(3, height, width),
            dtype=dtype,
            tile=(_FILE_TILE_PX, _FILE_TILE_PX),
            photometric="minisblack",
            ome=True,
            metadata=metadata,
        )


def _tiles(
    channel: int, size_wh: tuple[int, int], config: ImFISHPhantomConfig, seed: int, mosaic: _Mosaic
) -> Iterator[np.ndarray]:
    """The file's tiles of one channel, row by row; those at the edges filled up with 0."""
    width, height = size_wh
    rng = np.random.default_rng([seed, 1, channel])
    coarse_hw = tuple(-(-side // _EXPOSURE_STEP_PX) + 1 for side in (height, width))
    exposure = uneven_illumination(coarse_hw, config.unevenness, rng) * np.float32(rng.uniform(*config.exposure))
    background = np.float32(rng.uniform(*config.background))
    for top in range(0, height, _FILE_TILE_PX):
        bottom = min(top + _FILE_TILE_PX, height)
        # Pixel x of the field lies at x / step in the coarse grid.
        to_coarse = np.array([[1 / _EXPOSURE_STEP_PX, 0, 0], [0, 1 / _EXPOSURE_STEP_PX, top / _EXPOSURE_STEP_PX]])
        fine = cv2.warpAffine(exposure, to_coarse, (width, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        rows = take_picture(mosaic.rows(channel, top, bottom), background, fine, config, rng)
        missing = (-rows.shape[0] % _FILE_TILE_PX, -rows.shape[1] % _FILE_TILE_PX)
        rows = np.pad(rows, ((0, missing[0]), (0, missing[1])))
        for left in range(0, width, _FILE_TILE_PX):
            yield rows[:, left : left + _FILE_TILE_PX]
