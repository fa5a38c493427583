"""The pixel value that stands for white, once for a set: a guess for each image would change its brightness."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.cell_set import read_cell_image
from ctc_mm.imaging.normalize import guess_white_level

WHITE_OF_8_BIT = 255.0
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT = 24


def find_white_level(paths: Iterable[Path]) -> float:
    """Find the white level of images that belong together.

    Args:
        paths: image files; those that are missing are passed over.

    Returns:
        255 where all are 8-bit; else the highest of the guesses for the others (uint16: the smallest of 1023, 4095,
        16383 and 65535 that holds them all; float: 1).

    Raises:
        ImageReadError: an image cannot be read, or is a float image above 1, whose scale only its maker knows.
    """
    levels = {level for path in sorted(set(paths)) if (level := _level_of(path)) is not None}
    return max(levels - {WHITE_OF_8_BIT}, default=WHITE_OF_8_BIT)


def white_level_of(image: np.ndarray, set_level: float | None) -> float:
    """White level of one image of a set: 255 if it is 8-bit, else that of the set, else a guess.

    Raises:
        ValueError: a float image above 1 and no level of the set.
        TypeError: another pixel type.
    """
    return guess_white_level(image) if set_level is None or image.dtype == np.uint8 else float(set_level)


def _level_of(path: Path) -> float | None:
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None  # the data set lists what is missing
    return _level_of_file(path, stamp)


# Training, validation and test set of one table ask for the same files.
@functools.lru_cache(maxsize=1 << 18)
def _level_of_file(path: Path, stamp: int) -> float:
    if _is_8_bit_by_header(path):
        return WHITE_OF_8_BIT
    try:
        return guess_white_level(read_cell_image(path))
    except (ValueError, TypeError) as error:
        place = "" if str(path) in str(error) else f"{path}: "
        raise ImageReadError(f"{place}{error}") from error


def _is_8_bit_by_header(path: Path) -> bool:
    """Whether a file can only hold 8 bits a pixel: known without decoding it."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
        return True
    with path.open("rb") as file:
        head: Sequence[int] = file.read(_PNG_DEPTH_AT + 1)
    return bytes(head[:8]) == _PNG_SIGNATURE and len(head) > _PNG_DEPTH_AT and head[_PNG_DEPTH_AT] <= 8
