"""Image files out: PNG, TIFF, JPEG and BMP of one image, OME-TIFF of a field, whole or not at all."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import tifffile

from ctc_mm.formats.files import atomic_path, atomic_write_bytes

WRITABLE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")

# Above this a classic TIFF's 32-bit offsets come near their end.
_CLASSIC_TIFF_BYTES = 2**31
# Strips of about this size compress well and still allow a region to be read alone.
_STRIP_BYTES = 2**18


def write_image(path: str | Path, image_rgb: np.ndarray) -> None:
    """Write an image in the format of its suffix, whole or not at all; the same image gives the same bytes.

    Args:
        path: ``.png`` (uint8, uint16), ``.tif``/``.tiff`` (also float32), ``.jpg``/``.jpeg``/``.bmp`` (uint8).
        image_rgb: (H, W) or (H, W, 3) in RGB order, at least one pixel.

    Raises:
        ValueError: unknown suffix, empty or oddly shaped image, or a pixel type the format cannot hold.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise ValueError(
            f"{path}: cannot write images with suffix {suffix!r}; use one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    image_rgb = np.asarray(image_rgb)
    if image_rgb.size == 0 or not (image_rgb.ndim == 2 or (image_rgb.ndim == 3 and image_rgb.shape[2] == 3)):
        raise ValueError(f"{path}: image must be (H, W) or (H, W, 3) with pixels, received shape {image_rgb.shape}")
    allowed = {".png": ("uint8", "uint16"), ".tif": ("uint8", "uint16", "float32")}
    allowed[".tiff"] = allowed[".tif"]
    dtypes = allowed.get(suffix, ("uint8",))
    if image_rgb.dtype.name not in dtypes:
        raise ValueError(f"{path}: {suffix} holds {' or '.join(dtypes)} pixels, received {image_rgb.dtype.name}")
    atomic_write_bytes(path, _encode(suffix, image_rgb))


def write_png(path: str | Path, image_rgb: np.ndarray) -> None:
    """Write a uint8 or uint16 image, (H, W) or (H, W, 3) RGB, as PNG whole or not at all.

    Raises:
        ValueError: the suffix is not ``.png``, or ``image_rgb`` is not such an image.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: write_png needs a file name ending in .png; use write_image for other formats")
    write_image(path, image_rgb)


def write_ome_tiff(
    path: str | Path,
    image_cyx: np.ndarray,
    channel_names: Sequence[str],
    um_per_px: float | None = None,
    *,
    compression: str | None = None,
    tile_px: int | None = None,
    bigtiff: bool | None = None,
) -> None:
    """Write the channels of a field as OME-TIFF, whole or not at all; the same field gives the same bytes.

    Args:
        path: file name, by custom ending in ``.ome.tif``.
        image_cyx: (C, H, W) uint8, uint16 or float32, at least one pixel.
        channel_names: one name a channel, none twice.
        um_per_px: side of a pixel in micrometres, where known.
        compression: None, ``"lzw"`` or ``"deflate"``.
        tile_px: side of the file's tiles, a multiple of 16; None writes each channel in one piece, which regions are
            read from fastest where it is not compressed.
        bigtiff: whether to write BigTIFF; None: where the pixels exceed 2 GB.

    Raises:
        ValueError: another shape or pixel type, names that do not fit the channels, a pixel size or tile side that is
            none, another compression.
    """
    path = Path(path)
    image_cyx = np.asarray(image_cyx)
    if image_cyx.ndim != 3 or image_cyx.size == 0:
        raise ValueError(f"{path}: a field must be (C, H, W) with pixels, received shape {image_cyx.shape}")
    if image_cyx.dtype.name not in ("uint8", "uint16", "float32"):
        raise ValueError(f"{path}: OME-TIFF is written of uint8, uint16 or float32, received {image_cyx.dtype.name}")
    names = list(channel_names)
    if len(names) != len(image_cyx) or len(set(names)) != len(names) or not all(names):
        raise ValueError(f"{path}: {len(image_cyx)} channels need as many distinct names, received {names}")
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise ValueError(f"{path}: um_per_px must be a positive number, received {um_per_px!r}")
    if tile_px is not None and (tile_px < 16 or tile_px % 16):
        raise ValueError(f"{path}: tile_px must be a multiple of 16, received {tile_px!r}")
    if compression not in (None, "lzw", "deflate"):
        raise ValueError(f"{path}: compression must be None, 'lzw' or 'deflate', received {compression!r}")
    big = image_cyx.nbytes > _CLASSIC_TIFF_BYTES if bigtiff is None else bigtiff
    layout = {"tile": (tile_px, tile_px)} if tile_px else {"rowsperstrip": _rows_per_strip(image_cyx, compression)}
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=big, byteorder="<") as writer:
        for index, plane in enumerate(image_cyx):
            writer.write(
                np.ascontiguousarray(plane),
                photometric="minisblack",
                compression=compression,
                metadata=None,
                # Plain ASCII, so that the file's text is the same to every reader.
                description=_ome_xml(image_cyx, names, um_per_px) if index == 0 else None,
                software="ctc_mm" if index == 0 else None,
                **layout,
            )


def _rows_per_strip(image_cyx: np.ndarray, compression: str | None) -> int:
    _, height, width = image_cyx.shape
    if compression is None:
        return height
    return max(1, min(height, _STRIP_BYTES // (width * image_cyx.itemsize)))


def _ome_xml(image_cyx: np.ndarray, names: list[str], um_per_px: float | None) -> str:
    """Describe the field (OME schema 2016-06) without what differs from run to run, such as a UUID or a date."""
    count, height, width = image_cyx.shape
    kind = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}[image_cyx.dtype.name]
    # Micrometre is the schema's own unit; without one named, no reader needs to decode the Greek letter.
    scale = f' PhysicalSizeX="{um_per_px!r}" PhysicalSizeY="{um_per_px!r}"' if um_per_px is not None else ""
    channels = "".join(
        f'<Channel ID="Channel:0:{index}" Name={_ascii_attribute(name)} SamplesPerPixel="1"/>'
        for index, name in enumerate(names)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.openmicroscopy.org/'
        'Schemas/OME/2016-06 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" SizeX="{width}" '
        f'SizeY="{height}" SizeC="{count}" SizeZ="1" SizeT="1"{scale}>{channels}'
        f'<TiffData IFD="0" PlaneCount="{count}"/></Pixels></Image></OME>'
    )


def _ascii_attribute(text: str) -> str:
    return quoteattr(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _encode(suffix: str, image_rgb: np.ndarray) -> bytes:
    if suffix in (".tif", ".tiff"):
        buffer = io.BytesIO()
        photometric = "rgb" if image_rgb.ndim == 3 else "minisblack"
        tifffile.imwrite(buffer, np.ascontiguousarray(image_rgb), photometric=photometric, metadata=None)
        return buffer.getvalue()
    image_bgr = image_rgb[..., ::-1] if image_rgb.ndim == 3 else image_rgb
    done, encoded = cv2.imencode(suffix, np.ascontiguousarray(image_bgr))
    if not done:
        raise ValueError(f"an image of shape {image_rgb.shape} cannot be written as {suffix}")
    return encoded.tobytes()
