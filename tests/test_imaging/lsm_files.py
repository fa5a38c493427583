"""Zeiss LSM files made for tests: a TIFF whose CZ_LSMINFO tag tells the axes, the pixel size and the channel names."""

import struct

import numpy as np
import tifffile

CZ_LSMINFO = 34412
BITS_PER_SAMPLE = 258
SCAN_TYPES = {"ZCYX": 0, "TCYX": 3}


def write_lsm(path, image_cyx, names, um_per_px, *, axes="ZCYX", stack=1, compression=None):
    """Write ``stack`` planes of the channels, each with a thumbnail behind it, as a confocal microscope does."""
    channels, height, width = image_cyx.shape
    info = np.zeros(1, np.dtype(tifffile.TIFF.CZ_LSMINFO).newbyteorder("<"))
    info["MagicNumber"], info["StructureSize"] = 67127628, info.itemsize
    info["DimensionX"], info["DimensionY"], info["DimensionChannels"] = width, height, channels
    info["DimensionZ"], info["DimensionTime"] = (stack, 1) if axes == "ZCYX" else (1, stack)
    info["VoxelSizeX"] = info["VoxelSizeY"] = um_per_px * 1e-6
    info["ScanType"] = SCAN_TYPES[axes]
    value = info.tobytes() + _channel_colors(names)
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        for plane in range(stack):
            writer.write(
                image_cyx,
                photometric="rgb" if channels == 3 else "minisblack",
                planarconfig="separate" if channels > 1 else None,
                compression=compression,
                rowsperstrip=height,
                metadata=None,
                extratags=[(CZ_LSMINFO, 1, len(value), value, True)] if plane == 0 else (),
            )
            thumbnail = np.full((3, 8, 8), 77, np.uint8)
            writer.write(thumbnail, photometric="rgb", planarconfig="separate", subfiletype=1, metadata=None)
    _patch(path, info)


def _channel_colors(names):
    listed = b"".join(struct.pack("<I", len(name) + 1) + name.encode() + b"\0" for name in names)
    header = struct.pack("<6I", 24 + 4 * len(names) + len(listed), len(names), len(names), 24, 24 + 4 * len(names), 0)
    return header + b"\xff\0\0\0" * len(names) + listed


def _patch(path, info):
    """Write the offsets that are known only now: of the channel names, and of two channels' bits per sample."""
    data = bytearray(path.read_bytes())
    pages = list(_tags(data))
    start = struct.unpack_from("<I", data, pages[0][CZ_LSMINFO] + 8)[0]
    info["OffsetChannelColors"] = start + info.itemsize
    data[start : start + info.itemsize] = info.tobytes()
    for tags in pages:
        if struct.unpack_from("<I", data, tags[BITS_PER_SAMPLE] + 4)[0] == 2:
            # LSM software keeps two numbers apart, although they would fit into the tag itself.
            data += data[tags[BITS_PER_SAMPLE] + 8 : tags[BITS_PER_SAMPLE] + 12]
            struct.pack_into("<I", data, tags[BITS_PER_SAMPLE] + 8, len(data) - 4)
    path.write_bytes(bytes(data))


def _tags(data):
    """Where each tag of each page lies: code -> position of its 12 bytes."""
    (page,) = struct.unpack_from("<I", data, 4)
    while page:
        (count,) = struct.unpack_from("<H", data, page)
        positions = range(page + 2, page + 2 + 12 * count, 12)
        yield {struct.unpack_from("<H", data, position)[0]: position for position in positions}
        (page,) = struct.unpack_from("<I", data, page + 2 + 12 * count)
