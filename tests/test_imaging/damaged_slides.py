"""Tiled TIFFs with tiles that cannot be decoded."""

import numpy as np
import tifffile


def write_tiled(path, image_cyx, tile_px=128, **options):
    """Write channels as tiled, deflated pages."""
    with tifffile.TiffWriter(path) as writer:
        for plane in image_cyx:
            writer.write(
                plane, tile=(tile_px, tile_px), compression="deflate", contiguous=False, metadata=None, **options
            )


def spoil_tile(path, tile, page=0):
    """Overwrite the bytes of a tile with ones that no decoder takes."""
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)


def noise(channels, height, width, seed=0):
    """Values from 1 on, so that none is a fill value of 0."""
    return np.random.default_rng(seed).integers(1, 60000, (channels, height, width), dtype=np.uint16)
