"""Slides on disk for the routes that find cells themselves, and a route run over one slide as the runner does it."""

import json
from pathlib import Path

import numpy as np
import tifffile

from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import FirstPass, TileResult, TileTask
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imaging.io import write_ome_tiff


def spec_of(path, **values):
    channels = values.pop("channels", None)
    return SlideSpec("slide", FieldSource("slide", Path(path).name, {"": Path(path)}, channels), **values)


def write_slide(path, planes, names, um_per_px=0.25):
    write_ome_tiff(path, np.stack(planes), names, um_per_px)
    return path


def write_tiled(path, planes, tile_px=256):
    with tifffile.TiffWriter(path) as writer:
        for plane in planes:
            writer.write(plane, tile=(tile_px, tile_px), compression="deflate", contiguous=False, metadata=None)
    return path


def spoil_tile(path, tile, page=0):
    """Overwrite the bytes of a tile with ones that no decoder takes."""
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)


def count(route, spec):
    """Count a slide; levels and payloads travel through JSON as they do to other processes and the state on disk."""
    plan = route.plan(spec)
    first = route.first_pass(plan)
    first = FirstPass(json.loads(json.dumps(first.levels)), first.overview)
    results = list(route.measure(TileTask(plan, first, tile) for tile in range(plan.n_tiles)))
    assert [(one.slide, one.tile, one.error) for one in results] == [
        (spec.name, tile, None) for tile in range(plan.n_tiles)
    ]
    results = [TileResult(one.slide, one.tile, json.loads(json.dumps(one.payload))) for one in results]
    return route.finish(plan, first, results)
