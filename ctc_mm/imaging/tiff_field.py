"""The channels of a TIFF (multi-page, OME, ImageJ, Zeiss LSM, BigTIFF), read region by region.

Pixels that lie in the file as they are in memory are mapped, so that a region touches its own bytes only; compressed or
tiled ones are decoded tile by tile through tifffile's zarr store. Of a pyramid, level 0 is read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.decode import DECODING_ERRORS
from ctc_mm.imaging.field import RegionXYXY
from ctc_mm.imaging.orientation import flips, keeps_axes, orient, tiff_orientation
from ctc_mm.imaging.tiff_metadata import read_tiff_metadata
from ctc_mm.imaging.tiff_segments import describe_no_pixels
from ctc_mm.imaging.tiff_series import TiffSeriesReader

RGB_NAMES = ("red", "green", "blue")
# Series of these kinds hold the image first and a thumbnail, label or macro picture of the slide after it.
_KINDS_WITH_EXTRAS = ("lsm", "svs", "qpi", "ndpi", "scn", "bif", "philips", "ventana")


class TiffChannels:
    """The channels of one TIFF, none of them loaded.

    Several threads may read at once; ``close`` must not run beside them.

    Args:
        path: TIFF, BigTIFF or LSM file.
        z_projection: None refuses a z-stack, ``"max"`` takes the brightest of all planes.

    Attributes:
        names: name of each channel, or None.
        size_wh: width and height in pixels, after orientation.
        dtype: uint8, uint16 or float32.
        um_per_px_xy: width and height of a pixel, or None.
        notes: remarks a user should see.
        paths: the other files of an OME-TIFF set that channels lie in.

    Raises:
        ImageReadError: not a TIFF of channels of one size: damaged, truncated, of an unsupported kind, a z-stack, a
            time series, several images.
    """

    def __init__(self, path: Path, z_projection: str | None = None) -> None:
        self.path = path
        try:
            self._file = tifffile.TiffFile(path)
        except DECODING_ERRORS as error:
            raise _damaged(path, error) from error
        try:
            self._open(z_projection)
        except DECODING_ERRORS as error:
            self._file.close()
            raise error if isinstance(error, ImageReadError) else _damaged(path, error) from error

    def _open(self, z_projection: str | None) -> None:
        metadata = read_tiff_metadata(self._file)
        _check_chain_of_pages(self._file, self.path)
        no_pixels = describe_no_pixels(self._file.pages.first)
        if no_pixels:
            raise ImageReadError(f"{self.path}: {no_pixels}")
        series = _image_series(self._file, self.path)
        self._parts = [TiffSeriesReader(one, self.path, z_projection) for one in series]
        first = self._parts[0]
        self._orientation = 1 if self._file.is_lsm else tiff_orientation(first.page)
        width, height = first.size_wh
        self.size_wh = (width, height) if keeps_axes(self._orientation) else (height, width)
        self.dtype = first.dtype
        self.um_per_px_xy = metadata.um_per_px_xy
        self.notes = (*metadata.notes, *dict.fromkeys(note for part in self._parts for note in part.notes))
        files = {Path(page.parent.filehandle.path) for one in series for page in one.pages}
        self.paths = tuple(sorted(files - {Path(self._file.filehandle.path)}))
        self._places = [(part, index) for part in self._parts for index in range(part.channels)]
        self.names = self._name_channels(metadata.names)

    def _name_channels(self, names: tuple[str | None, ...]) -> tuple[str | None, ...]:
        count = len(self._places)
        if self._parts[0].is_rgb:
            return (*RGB_NAMES, *[None] * (count - len(RGB_NAMES)))
        return (*names, *[None] * count)[:count]

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region of some channels: a plane (h, w) in ``dtype`` for each; to be copied, not written to.

        Raises:
            ImageReadError: damaged pixels.
        """
        rows, columns = self._stored_region(region_xyxy)
        planes: dict[int, np.ndarray] = {}
        for part in self._parts:
            wanted = [index for index in indices if self._places[index][0] is part]
            if not wanted:
                continue
            try:
                read = part.read([self._places[index][1] for index in wanted], rows, columns)
            except DECODING_ERRORS as error:
                names = ", ".join(str(self.names[index] or index) for index in wanted)
                raise ImageReadError(
                    f"{self.path}: channel {names} of shape {self.size_wh[::-1]} cannot be decoded in the region "
                    f"{region_xyxy} ({error}); copy or export the file again"
                ) from error
            planes.update(zip(wanted, read, strict=True))
        return [orient(planes[index], self._orientation) for index in indices]

    def _stored_region(self, region_xyxy: RegionXYXY) -> tuple[slice, slice]:
        """Rows and columns of the stored pixels that an upright region lies on."""
        x0, y0, x1, y1 = region_xyxy
        width, height = self.size_wh
        flip_rows, flip_columns = flips(self._orientation)
        if flip_rows:
            y0, y1 = height - y1, height - y0
        if flip_columns:
            x0, x1 = width - x1, width - x0
        if not keeps_axes(self._orientation):
            x0, y0, x1, y1 = y0, x0, y1, x1
        return slice(y0, y1), slice(x0, x1)

    def close(self) -> None:
        """Close the file."""
        for part in self._parts:
            part.close()
        self._file.close()


def _image_series(file: tifffile.TiffFile, path: Path) -> list[tifffile.TiffPageSeries]:
    """The series that hold the channels: one as a rule, several where pages of one size are stored in several ways."""
    series = file.series
    if not series:
        raise ImageReadError(f"{path}: the TIFF holds no image; export it again")
    if len(series) == 1 or series[0].kind in _KINDS_WITH_EXTRAS:
        return series[:1]
    shapes = [one.shape for one in series]
    listed = ", ".join(f"{one.name or number} {one.shape}" for number, one in enumerate(series))
    if series[0].kind == "ome":
        raise ImageReadError(f"{path}: OME-TIFF with {len(series)} images ({listed}); export one image a file")
    if len({shape[-2:] for shape in shapes}) > 1:
        raise ImageReadError(f"{path}: channels of different size ({listed}); export them at one size")
    if any(len(shape) != 2 for shape in shapes) or len({one.dtype for one in series}) > 1:
        raise ImageReadError(f"{path}: {len(series)} images of different kinds ({listed}); export one field a file")
    return series


def _check_chain_of_pages(file: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file whose last page points to one behind its end; tifffile only logs that, and channels would lack."""
    layout, handle = file.tiff, file.filehandle
    last = file.pages[len(file.pages) - 1]
    handle.seek(last.offset)
    tags = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))[0]
    handle.seek(last.offset + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    if following >= handle.size:
        raise ImageReadError(
            f"{path}: truncated: page {len(file.pages)} would start at byte {following}, the file ends at "
            f"{handle.size}; copy or export it again"
        )


def _damaged(path: Path, error: Exception) -> ImageReadError:
    return ImageReadError(f"{path}: damaged or truncated TIFF ({error}); copy or export it again")
