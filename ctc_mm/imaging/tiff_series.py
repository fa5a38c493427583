"""One series of a TIFF as an array of channels, read region by region: mapped, or decoded through zarr."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.decode import can_decompress, name_of_code
from ctc_mm.imaging.field import supported_dtype, to_supported
from ctc_mm.imaging.tiff_segments import count_empty_tiles, describe_missing_pixels

# Decoded strips of a channel that are larger than this together are not kept.
MOST_BAND_BYTES = 2**28

_CHANNEL_AXES = "CSIQ"  # S: samples of a pixel; I and Q: pages that nothing describes
_AXIS_WORDS = {"Z": "z-stack", "T": "time series", "P": "set of positions", "R": "set of positions", "M": "mosaic"}
_COLOURS = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
_GREYS = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)


class TiffSeriesReader:
    """The channels of one series.

    Args:
        series: as tifffile found it.
        path: the file, for errors.
        z_projection: None or ``"max"``.

    Attributes:
        page: the page that stands for all of them.
        channels: how many there are, alpha left out.
        size_wh: width and height of the stored pixels.
        dtype: uint8, uint16 or float32, which ``read`` returns.
        is_rgb: whether the channels are red, green, blue.
        notes: remarks a user should see.

    Raises:
        ImageReadError: axes or pixels that are no channels of one field; truncated.
    """

    def __init__(self, series: tifffile.TiffPageSeries, path: Path, z_projection: str | None) -> None:
        self._series, self._path = series.levels[0], path
        self.page = series.keyframe
        self._axes, self._shape = series.axes, series.shape
        self._sizes = dict(zip(self._axes, self._shape, strict=True))
        self._is_lsm = series.kind == "lsm"  # its colour model says nothing about the channels
        self._channel_axis = self._find_channel_axis(z_projection)
        self.size_wh = (self._sizes["X"], self._sizes["Y"])
        self.is_rgb = not self._is_lsm and self.page.photometric in _COLOURS and self._channel_axis == "S"
        self.channels = self._sizes.get(self._channel_axis, 1) - self._alpha_samples()
        self.dtype = self._check_pixels()
        missing = describe_missing_pixels(self._series)
        if missing:
            raise ImageReadError(f"{path}: {missing}")
        self.notes = self._remarks()
        self._store: Any = None
        self._array = self._open_array()
        self._has_packed_strips = self._store is not None and not self.page.is_tiled
        self._bands: dict[tuple[int, ...], np.ndarray] = {}

    def read(self, indices: Sequence[int], rows: slice, columns: slice) -> list[np.ndarray]:
        """Read a region of stored pixels: a plane (h, w) in ``dtype`` for each index; to be copied, not written to."""
        planes = self._read_planes(indices, rows, columns, 0)
        for z in range(1, self._sizes.get("Z", 1)):
            deeper = self._read_planes(indices, rows, columns, z)
            planes = [np.maximum(*pair) for pair in zip(planes, deeper, strict=True)]
        return planes

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()

    def _read_planes(self, indices: Sequence[int], rows: slice, columns: slice, z: int) -> list[np.ndarray]:
        if self._axes.index("X") < len(self._axes) - 1:  # the channels of a pixel lie side by side: decoded at once
            pixels = self._read_band({"Y": rows, "X": columns, "Z": z, self._channel_axis: slice(None)})
            planes = [pixels[..., index] for index in indices]
        else:
            channels = [{"Y": rows, "X": columns, "Z": z, self._channel_axis: index} for index in indices]
            planes = [self._read_band(channel) for channel in channels]
        return [self._convert(plane) for plane in planes]

    def _convert(self, plane: np.ndarray) -> np.ndarray:
        """Give stored pixels in ``dtype``, light as high and dark as low."""
        plane = to_supported(plane)
        if self.page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not self._is_lsm and self.dtype.kind == "u":
            return np.iinfo(self.dtype).max - plane
        return plane

    def _read_band(self, selection: dict[str, int | slice]) -> np.ndarray:
        """Read a selection; strips that are decoded over their whole width are kept for the next tile of the row."""
        rows, columns = selection["Y"], selection["X"]
        if not self._has_packed_strips or columns.stop - columns.start == self.size_wh[0]:
            return np.asarray(self._array[tuple(selection[axis] for axis in self._axes)])
        numbers = [place for place in selection.values() if isinstance(place, int)]
        key = (rows.start, rows.stop, *numbers)
        band = self._bands.get(key)
        if band is None:
            wide = {**selection, "X": slice(None)}
            band = np.asarray(self._array[tuple(wide[axis] for axis in self._axes)])
            if band.nbytes <= MOST_BAND_BYTES:
                self._bands = {**{kept: self._bands[kept] for kept in self._bands if kept[:2] == key[:2]}, key: band}
        return band[:, columns]

    def _find_channel_axis(self, z_projection: str | None) -> str:
        """The axis along which channels lie; "" where there is one channel."""
        shape = f"shape {self._shape} (axes {self._axes})"
        if 0 in self._shape:
            raise ImageReadError(f"{self._path}: the image has no pixels, {shape}; export it again")
        for axis, size in self._sizes.items():
            if axis in "YX" or axis in _CHANNEL_AXES or size == 1 or (axis == "Z" and z_projection == "max"):
                continue
            cure = "; export one plane, or a maximum projection" if axis == "Z" else "; export each image as a file"
            cure += " (where its planes are channels, say so in ImageJ: Image > Properties)" if axis == "Z" else ""
            raise ImageReadError(f"{self._path}: {_AXIS_WORDS.get(axis, f'axis {axis}')} of {size}, {shape}{cure}")
        if "YX" not in self._axes:
            raise ImageReadError(f"{self._path}: no plane of rows and columns, {shape}; export it as an image")
        axes = [axis for axis in self._axes if axis in _CHANNEL_AXES and self._sizes[axis] > 1]
        if len(axes) > 1:
            raise ImageReadError(f"{self._path}: several colour images, {shape}; save each channel as one grey page")
        return axes[0] if axes else next((axis for axis in self._axes if axis in _CHANNEL_AXES), "")

    def _alpha_samples(self) -> int:
        """How many samples at the end of each pixel are opacity; unspecified extra samples are channels."""
        opacity = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
        return sum(sample in opacity for sample in self.page.extrasamples) if self._channel_axis == "S" else 0

    def _check_pixels(self) -> np.dtype:
        """Pixel type of what is read; refuses what cannot be decoded before anything is read."""
        page, path = self.page, self._path
        stored = self._series.dtype
        if not can_decompress(page):
            raise ImageReadError(
                f"{path}: compression {name_of_code(page.compression)} is not supported; save it with LZW or Deflate"
            )
        is_known = page.photometric in (*_COLOURS, *_GREYS) or _is_tinted_grey(page)
        if not self._is_lsm and not is_known:
            raise ImageReadError(
                f"{path}: colour model {name_of_code(page.photometric)} is not supported; save it as grey or RGB"
            )
        if stored is None:
            raise ImageReadError(f"{path}: pixels of {page.bitspersample} bits are not supported; save it with 8 or 16")
        dtype = supported_dtype(stored)
        if dtype is None:
            raise ImageReadError(f"{path}: {stored.name} pixels are not supported; save it as uint8, uint16 or float32")
        return dtype

    def _remarks(self) -> tuple[str, ...]:
        remarks = []
        if not self._is_lsm and _is_tinted_grey(self.page):
            remarks.append(f"{self._path}: shown in the colours of a look-up table; its grey values are read")
        empty = count_empty_tiles(self._series)
        if empty:
            remarks.append(f"{self._path}: {empty} tiles are left out in the file, read as 0")
        return tuple(remarks)

    def _open_array(self) -> Any:
        """What is indexed by (rows, columns, ...) in the order of the axes and reads no more than that."""
        series = self._series
        if series.dataoffset is not None and _is_aligned(series.dataoffset, series.dtype):
            return _map(series.keyframe, series.dataoffset, series.shape)
        pages = list(series.pages)
        if _pages_are_mappable(series, pages):
            return _MappedPages(pages, series.shape)
        import zarr

        self._store = series.aszarr(level=0)
        return zarr.open_array(self._store, mode="r")


def _is_tinted_grey(page: tifffile.TiffPage) -> bool:
    """Whether colours only show grey values, as ImageJ saves an 8-bit channel drawn in blue: higher is brighter."""
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
        return False
    brightness = page.colormap.max(axis=0).astype(np.int64)
    return bool(brightness[-1] > brightness[0] and (np.diff(brightness) >= 0).all())


class _MappedPages:
    """Pages that lie in the file as they do in memory, but not side by side."""

    def __init__(self, pages: Sequence[Any], shape: tuple[int, ...]) -> None:
        self._pages = pages
        self._page_shape = pages[0].keyframe.shape
        self._leading = shape[: len(shape) - len(self._page_shape)]

    def __getitem__(self, selection: tuple[int | slice, ...]) -> np.ndarray:
        depth = len(self._leading)
        number = int(np.ravel_multi_index(selection[:depth], self._leading)) if depth else 0
        page = self._pages[number]
        return _map(page.keyframe, page.dataoffsets[0], self._page_shape, page)[selection[depth:]]


def _map(keyframe: tifffile.TiffPage, offset: int, shape: tuple[int, ...], page: Any = None) -> np.ndarray:
    file = (page or keyframe).parent
    dtype = np.dtype(keyframe.dtype).newbyteorder(file.byteorder)
    return np.memmap(file.filehandle.path, dtype, "r", offset, shape)


def _is_aligned(offset: int, dtype: np.dtype) -> bool:
    return offset % dtype.itemsize == 0


def _pages_are_mappable(series: tifffile.TiffPageSeries, pages: Sequence[Any]) -> bool:
    keyframe = series.keyframe
    depth = len(series.shape) - len(keyframe.shape)
    if series.shape[depth:] != keyframe.shape or math.prod(series.shape[:depth]) != len(pages):
        return False
    if not keyframe.is_final or keyframe.is_tiled or series.transform is not None:
        return False
    return all(_is_in_one_piece(page, keyframe) for page in pages)


def _is_in_one_piece(page: Any, keyframe: tifffile.TiffPage) -> bool:
    """Whether the strips of a page follow each other without a gap (LSM files claim so without being asked)."""
    end = page.dataoffsets[0]
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset != end:
            return False
        end = offset + count
    whole = end - page.dataoffsets[0] == keyframe.nbytes
    return whole and keyframe.compression == 1 and _is_aligned(page.dataoffsets[0], keyframe.dtype)
