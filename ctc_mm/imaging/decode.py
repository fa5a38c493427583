"""Image files in: one grey or RGB image, in RGB order, at the file's own bit depth.

PNG, JPEG, BMP and the like are decoded by Pillow, except PNG with 16 bits a colour, which Pillow would cut to 8 (OpenCV
reads those). TIFF is decoded by tifffile (float32, BigTIFF, LZW, JPEG and deflate compression). A further kind of
file is one more ``_read_*`` function and one line in ``_decoder_of``.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.field import supported_dtype, to_supported
from ctc_mm.imaging.orientation import ORIENTATION_TAG, keeps_axes, orient, tiff_orientation
from ctc_mm.imaging.tiff_metadata import declares_entities
from ctc_mm.imaging.tiff_segments import describe_missing_pixels, describe_no_pixels

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNKNOWN_KIND = "not an image file of a known kind; save it as PNG, JPEG or TIFF"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What Pillow, libpng, tifffile and zarr raise on damaged data, found by cutting files and flipping their bits; anything
# else is a bug and passes through.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
    tifffile.TiffFileError,
)


def read_image(path: str | Path) -> np.ndarray:
    """Read a two-dimensional image file.

    The orientation tag (EXIF) is applied, as Labelme does before it shows an image. Palettes become their colours, an
    alpha channel is dropped, a bilevel image becomes 0 and 255, float16 and float64 become float32.

    Args:
        path: PNG, JPEG, BMP, WebP or TIFF file.

    Returns:
        (H, W) grey or (H, W, 3) in RGB order; uint8, uint16 or float32, as the file has it.

    Raises:
        ImageReadError: the file is missing, empty, truncated, holds no pixel, several pages or channels that are no
            grey or RGB image, a pixel type other than those above, or NaN or infinite pixels.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        image = _decoder_of(data)(data)
    except _UnsupportedImage as error:
        raise ImageReadError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(f"{path}: {_UNKNOWN_KIND}") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(f"{path}: {error}; save so large an image as TIFF, or cut it into fields") from error
    except MemoryError as error:
        raise ImageReadError(f"{path}: too large to be read whole ({error}); cut it into fields") from error
    except DECODING_ERRORS as error:
        raise ImageReadError(f"{path}: damaged or truncated image ({error}); copy or export it again") from error
    if image.size == 0:
        raise ImageReadError(f"{path}: the image has no pixels (shape {image.shape}); export it again")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = int(np.count_nonzero(~np.isfinite(image)))
        raise ImageReadError(
            f"{path}: holds pixels that are not finite: {bad} NaN or infinite of shape {image.shape}; mend or mask them"
        )
    return np.ascontiguousarray(image)


def image_size_wh(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of what ``read_image`` would return, from the file's header alone.

    Raises:
        ImageReadError: the file is missing, empty or not an image with a readable header.
    """
    path = Path(path)
    read_size_wh = _tiff_size_wh if is_tiff(path) else _pillow_size_wh
    try:
        return read_size_wh(path)
    except _UnsupportedImage as error:
        raise ImageReadError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(f"{path}: {_UNKNOWN_KIND}") from error
    except DECODING_ERRORS as error:
        raise ImageReadError(f"{path}: no image header that can be read ({error}); export it again") from error


class _UnsupportedImage(Exception):
    """A readable file whose content is not one grey or RGB image of a supported pixel type."""


def is_tiff(path: Path) -> bool:
    """Say by a file's first bytes whether it is a TIFF.

    Raises:
        ImageReadError: the file is missing, empty or cannot be read.
    """
    return _read_bytes(path, 4) in TIFF_SIGNATURES


def _read_bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most)
    except FileNotFoundError as error:
        raise ImageReadError(f"{path}: no such image file; check the path") from error
    except IsADirectoryError as error:
        raise ImageReadError(f"{path}: is a folder; give an image file") from error
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not data:
        raise ImageReadError(f"{path}: the file is empty (0 bytes); copy or export it again")
    return data


def _decoder_of(data: bytes) -> Callable[[bytes], np.ndarray]:
    if data[:4] in TIFF_SIGNATURES:
        return _read_tiff
    # IHDR comes first in a PNG: byte 24 is the bit depth, byte 25 the colour type (0 grey, 2 RGB, 4 and 6 with alpha).
    if data.startswith(_PNG_SIGNATURE) and len(data) > 25 and data[24] == 16 and data[25] != 0:
        return _read_deep_png
    return _read_pillow


def _read_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        _refuse_animation(picture)
        picture.load()
        orientation = _orientation_of(picture.getexif())
        if picture.mode in ("P", "PA"):
            picture = picture.convert("RGB")
        elif picture.mode == "1":
            picture = picture.convert("L")
        elif picture.mode == "I" and picture.format == "PNG":
            picture = picture.convert("I;16")  # older Pillow opens a 16-bit grey PNG as 32-bit
        if not (picture.mode in ("L", "LA", "RGB", "RGBA", "F") or picture.mode.startswith("I;16")):
            raise _UnsupportedImage(f"pixels of mode {picture.mode} are not supported; save the image as grey or RGB")
        image = np.asarray(picture)
    if image.dtype.kind == "u" and image.dtype.byteorder == ">":
        image = image.astype(np.uint16)
    return orient(_drop_alpha(image), orientation)


def _read_deep_png(data: bytes) -> np.ndarray:
    orientation = _header_orientation(io.BytesIO(data))
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # checksums; OpenCV is silent about damage
    image_bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image_bgr is None:
        raise ValueError("the pixels cannot be decoded")
    if data[25] == 4:  # grey and alpha: OpenCV returns the grey three times
        return orient(image_bgr[..., 0], orientation)
    return orient(image_bgr[..., 2::-1], orientation)


def _read_tiff(data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _single_page(file)
        missing = describe_missing_pixels(file.series[0].levels[0])
        if missing:
            raise _UnsupportedImage(missing)
        image = file.series[0].asarray()
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            # Colour maps hold 16 bits a colour; 8 of them are what the pixels of such files were made from.
            image = (page.colormap[:, image] >> 8).astype(np.uint8).transpose(1, 2, 0)
        elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            image = np.moveaxis(image, 0, -1)
        if supported_dtype(image.dtype) is None:
            raise _UnsupportedImage(f"{image.dtype.name} pixels are not supported; save it as uint8, uint16 or float32")
        image = to_supported(image)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and image.dtype.kind == "u":
            image = np.iinfo(image.dtype).max - image
        return orient(_drop_alpha(image), tiff_orientation(page))


def _single_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The only page of a TIFF (levels of a pyramid aside), or a refusal that names what the file holds."""
    if declares_entities(file.pages.first.description):
        raise _UnsupportedImage("its XML declares entities, which can be used to harm; export it again")
    no_pixels = describe_no_pixels(file.pages.first)
    if no_pixels:
        raise _UnsupportedImage(no_pixels)
    series = file.series
    page = series[0].keyframe
    if not can_decompress(page):
        raise _UnsupportedImage(
            f"compression {name_of_code(page.compression)} is not supported; save it with LZW or Deflate"
        )
    if len(series) > 1:
        shapes = ", ".join(str(one.shape) for one in series)
        raise _UnsupportedImage(f"TIFF with {len(series)} images of shapes {shapes}; save one grey or RGB image a file")
    # ImageJ and tifffile can put a whole stack behind the header of its first page.
    if len(series[0].pages) > 1 or math.prod(series[0].shape) > math.prod(page.shape):
        raise _UnsupportedImage(
            f"multi-page TIFF of shape {series[0].shape} (axes {series[0].axes}); save each page as a file of its own"
        )
    names = tifffile.PHOTOMETRIC
    if page.photometric not in (names.MINISBLACK, names.MINISWHITE, names.RGB, names.YCBCR, names.PALETTE):
        raise _UnsupportedImage(
            f"colour model {name_of_code(page.photometric)} is not supported; save it as grey or RGB"
        )
    if page.imagedepth > 1 or page.samplesperpixel > 4:
        raise _UnsupportedImage(f"TIFF of shape {series[0].shape} (axes {series[0].axes}) is no grey or RGB image")
    return page


def _refuse_animation(picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    # An MPO is a camera's JPEG that carries a preview as its second frame.
    if frames > 1 and picture.format != "MPO":
        raise _UnsupportedImage(f"{picture.format} of {frames} frames; save one image a file")


def _orientation_of(exif: Image.Exif) -> int:
    return exif.get(ORIENTATION_TAG, 1)


def _header_orientation(stream: BinaryIO) -> int:
    """Orientation of a file that Pillow opens, without decoding its pixels unless a PNG keeps the tag behind them."""
    with Image.open(stream) as picture:
        if picture.format == "PNG" and "exif" not in picture.info and _has_png_chunk(stream, b"eXIf"):
            return _orientation_of(picture.getexif())
        # PNG's own getexif would decode the whole image first, in search of such a chunk.
        return _orientation_of(Image.Image.getexif(picture))


def _has_png_chunk(stream: BinaryIO, kind: bytes) -> bool:
    position = stream.tell()
    stream.seek(len(_PNG_SIGNATURE))
    found = False
    while not found and len(head := stream.read(8)) == 8:
        found = head[4:] == kind
        stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)  # the chunk and its checksum
    stream.seek(position)
    return found


def can_decompress(page: tifffile.TiffPage) -> bool:
    """Say whether there is a decoder for the compression of a TIFF's page."""
    return page.compression == 1 or page.compression in tifffile.TIFF.DECOMPRESSORS


def name_of_code(code: int) -> str:
    """Name of a number that a TIFF tag holds, or the number where it has none."""
    return str(getattr(code, "name", code))


def _pillow_size_wh(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        _refuse_animation(picture)
        width, height = picture.size
    with path.open("rb") as file:
        return (width, height) if keeps_axes(_header_orientation(file)) else (height, width)


def _tiff_size_wh(path: Path) -> tuple[int, int]:
    with tifffile.TiffFile(path) as file:
        page = _single_page(file)
        width, height = int(page.imagewidth), int(page.imagelength)
        return (width, height) if keeps_axes(tiff_orientation(page)) else (height, width)


def _drop_alpha(image: np.ndarray) -> np.ndarray:
    if image.ndim == 3 and image.shape[2] in (1, 2):
        return image[..., 0]
    if image.ndim == 3 and image.shape[2] == 4:
        return image[..., :3]
    return image
