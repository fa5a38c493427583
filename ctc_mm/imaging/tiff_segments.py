"""Whether a TIFF holds the bytes of all its pixels; decoders fill what is missing with zeros and say nothing."""

from __future__ import annotations

import math
from typing import Any

import tifffile


def describe_no_pixels(page: tifffile.TiffPage) -> str:
    """Say that a page has no rows or no columns, and the cure; "" where it has both.

    To be called before ``file.series``, which divides by them.
    """
    shape = (page.imagelength, page.imagewidth)
    return "" if all(shape) else f"the image has no pixels (shape {shape}); export it again"


def describe_missing_pixels(series: tifffile.TiffPageSeries) -> str:
    """Say what pixels of a series are in no file, and the cure; "" where all are there.

    A tile that the file says to be empty (offset and length 0) is none of them: slide scanners leave out tiles without
    tissue. A strip like that was never written.
    """
    shape = series.keyframe.shape
    for number, page in enumerate(series.pages):
        if page is None:
            return (
                f"plane {number} of shape {shape} is in another file of the OME-TIFF set that cannot be found, or is "
                "lost; keep the files of a set together under their own names"
            )
        fault = _fault(series, page)
        if fault:
            return f"truncated: plane {number} of shape {shape} {fault}; copy or export it again"
    return ""


def count_empty_tiles(series: tifffile.TiffPageSeries) -> int:
    """How many tiles of a series the file leaves out on purpose; they are read as 0."""
    if series.dataoffset is not None:
        return 0
    return sum(page.databytecounts.count(0) for page in series.pages if page is not None)


def _fault(series: tifffile.TiffPageSeries, page: Any) -> str:
    keyframe, size = series.keyframe, page.parent.filehandle.size
    if series.dataoffset is not None:  # all planes in one piece
        end = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize
    else:
        end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        wanted = math.prod(keyframe.chunked)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=False))[:wanted]
        present = sum(bool(offset and count) or _is_empty_tile(keyframe, offset, count) for offset, count in places)
        if present < wanted:
            return f"has {present} of {wanted} strips or tiles"
    if end > size:
        return f"ends at byte {end}, the file at {size}"
    return "has too few bytes" if series.dataoffset is None and _is_too_short(page, keyframe) else ""


def _is_empty_tile(keyframe: tifffile.TiffPage, offset: int, count: int) -> bool:
    return keyframe.is_tiled and not offset and not count


def _is_too_short(page: Any, keyframe: tifffile.TiffPage) -> bool:
    """Whether pixels that are not compressed take more bytes than the file has for them."""
    if keyframe.compression != 1 or 0 in page.databytecounts:
        return False
    return sum(page.databytecounts) * 8 < math.prod(keyframe.shape) * keyframe.bitspersample
