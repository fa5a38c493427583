"""A field: one or more named channels of one size, read region by region from files or arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ctc_mm.errors import ImageReadError

SUPPORTED_DTYPES = ("uint8", "uint16", "float32")

RegionXYXY = tuple[int, int, int, int]


class ChannelSource(Protocol):
    """Where channels come from: a file or arrays. Several threads may call ``read`` at once."""

    names: tuple[str | None, ...]
    size_wh: tuple[int, int]
    dtype: np.dtype
    um_per_px_xy: tuple[float, float] | None
    notes: tuple[str, ...]
    paths: tuple[Path, ...]

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> Sequence[np.ndarray]:
        """Read a region of some channels: a plane (h, w) for each, in ``dtype``; to be copied, not written to."""

    def close(self) -> None:
        """Let go of files and memory."""


@dataclass(frozen=True)
class Channel:
    """One channel of a field: where it is read, and the file to name in an error."""

    source: ChannelSource
    index: int
    where: str


class ArrayChannels:
    """Channels that are in memory.

    Args:
        array_cyx: (C, H, W) bool, uint8, uint16 or float; kept, not copied.
        names: one a channel, or None.
        where: what to name in errors.

    Attributes: those of ``ChannelSource``.

    Raises:
        ImageReadError: no pixels, or pixels of another type.
    """

    um_per_px_xy = None
    notes = ()
    paths = ()

    def __init__(self, array_cyx: np.ndarray, names: tuple[str | None, ...], where: str) -> None:
        if array_cyx.size == 0:
            raise ImageReadError(f"{where}: the image has no pixels, shape {array_cyx.shape[1:]}; export it again")
        dtype = supported_dtype(array_cyx.dtype)
        if dtype is None:
            raise ImageReadError(
                f"{where}: {array_cyx.dtype.name} pixels are not supported; give uint8, uint16 or float32"
            )
        self._array, self.names, self.dtype = array_cyx, names, dtype
        self.size_wh = (array_cyx.shape[2], array_cyx.shape[1])

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region of some channels: a plane (h, w) for each."""
        x0, y0, x1, y1 = region_xyxy
        return [to_supported(self._array[index, y0:y1, x0:x1]) for index in indices]

    def close(self) -> None:
        """Let go of the memory."""
        self._array = np.zeros((0, 0, 0), self.dtype)


class Field:
    """One or more channels of one size; made by ``open_field`` and ``field_from_arrays``.

    A context manager: ``with open_field(...) as field``. Pixels are read when asked for. Several threads may read at
    once, but none while another closes the field; it cannot be sent to another process (send its paths).

    Attributes:
        name: of the field, for tables and file names.
        paths: the files it is read from, all members of an OME-TIFF set among them; none for arrays.
        channels: channel names in order.
        size_wh: width and height in pixels, after orientation.
        dtype: uint8, uint16 or float32. Where the files of the channels differ it is the wider one; values stay as they
            are.
        um_per_px: side of a pixel in micrometres, where known.
        notes: what a user should know about how it is read.
        gaps_xyxy: places of a mosaic where nothing was imaged, none over another; they are read as a flat value.
    """

    def __init__(
        self,
        name: str,
        paths: tuple[Path, ...],
        channels: Mapping[str, Channel],
        um_per_px: float | None,
        notes: tuple[str, ...] = (),
        gaps_xyxy: tuple[RegionXYXY, ...] = (),
    ) -> None:
        self.name, self.paths = name, paths
        self.um_per_px, self.notes, self.gaps_xyxy = um_per_px, notes, gaps_xyxy
        self.channels = tuple(channels)
        self._channels = dict(channels)
        self.size_wh = self._common_size()
        self.dtype = np.result_type(*[channel.source.dtype for channel in channels.values()])
        self._closed = False

    def _common_size(self) -> tuple[int, int]:
        sizes = {name: channel.source.size_wh for name, channel in self._channels.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(
                f"{name} {(height, width)} in {self._channels[name].where}" for name, (width, height) in sizes.items()
            )
            raise ImageReadError(f"channels of different size: {listed}; export them at one size")
        return next(iter(sizes.values()))

    @property
    def channel_sources(self) -> dict[str, Channel]:
        """Where each channel is read."""
        return dict(self._channels)

    def read(self, channels: Sequence[str] | None = None, region_xyxy: RegionXYXY | None = None) -> np.ndarray:
        """Read channels, whole or a region of them.

        Args:
            channels: names, in the order wanted; None: all.
            region_xyxy: half-open pixels inside the field; None: all of it.

        Returns:
            (C, h, w) in ``dtype``; a new array.

        Raises:
            ValueError: an unknown channel, a region that is empty or leaves the field, a closed field.
            ImageReadError: pixels that are damaged, NaN or infinite.
        """
        names = self._check_names(channels)
        x0, y0, x1, y1 = region = self._check_region(region_xyxy)
        block = np.empty((len(names), y1 - y0, x1 - x0), self.dtype)
        sources = {id(self._channels[name].source): self._channels[name].source for name in names}
        for source in sources.values():
            places = [place for place, name in enumerate(names) if self._channels[name].source is source]
            planes = source.read([self._channels[names[place]].index for place in places], region)
            for place, plane in zip(places, planes, strict=True):
                block[place] = plane
        for name, plane in zip(names, block, strict=True):
            self._check_finite(name, plane, region)
        return block

    def close(self) -> None:
        """Let go of files and memory; reading is over then."""
        self._closed = True
        for channel in self._channels.values():
            channel.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        width, height = self.size_wh
        return f"Field({self.name!r}, {'+'.join(self.channels)}, {width} x {height} px, {self.dtype})"

    def _check_names(self, channels: Sequence[str] | None) -> tuple[str, ...]:
        if self._closed:
            raise ValueError(f"field {self.name!r} is closed; read inside the with block")
        names = self.channels if channels is None else (channels,) if isinstance(channels, str) else tuple(channels)
        missing = [name for name in names if name not in self._channels]
        if missing or not names:
            raise ValueError(f"field {self.name!r} has no channel {missing}; its channels are {list(self.channels)}")
        return names

    def _check_region(self, region_xyxy: RegionXYXY | None) -> RegionXYXY:
        width, height = self.size_wh
        if region_xyxy is None:
            return 0, 0, width, height
        x0, y0, x1, y1 = (int(value) for value in region_xyxy)
        inside = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        if not inside or (x0, y0, x1, y1) != tuple(region_xyxy):
            raise ValueError(
                f"`region_xyxy` must be whole pixels with an area inside field {self.name!r} of {width} x {height} px. "
                f"Received: {tuple(region_xyxy)}"
            )
        return x0, y0, x1, y1

    def _check_finite(self, name: str, plane: np.ndarray, region: RegionXYXY) -> None:
        if plane.dtype.kind != "f":
            return
        bad = plane.size - int(np.count_nonzero(np.isfinite(plane)))
        if bad:
            raise ImageReadError(
                f"{self._channels[name].where}: channel {name!r} holds pixels that are not finite: {bad} NaN or "
                f"infinite in the region {region} of shape {plane.shape}; mend or mask them"
            )


def field_from_arrays(arrays: Mapping[str, np.ndarray], name: str = "array", um_per_px: float | None = None) -> Field:
    """Make a field of arrays in memory; they are not copied.

    Args:
        arrays: channel name to (H, W) array of bool, uint8, uint16 or float.
        name: name of the field.
        um_per_px: side of a pixel in micrometres, where known.

    Raises:
        ImageReadError: no channel, arrays of different size, another shape or pixel type, an array without pixels.
        ValueError: ``um_per_px`` is no positive number.
    """
    if not arrays:
        raise ImageReadError(f"field {name!r} needs at least one channel. Received: {arrays!r}")
    channels = {}
    for channel, array in arrays.items():
        where = f"field {name!r}, channel {channel!r}"
        array = np.asarray(array)
        if array.ndim != 2:
            raise ImageReadError(f"{where}: a channel must be (H, W), received shape {array.shape}")
        channels[channel] = Channel(ArrayChannels(array[None], (None,), where), 0, where)
    return Field(name, (), channels, check_scale(um_per_px))


def supported_dtype(stored: np.dtype) -> np.dtype | None:
    """Pixel type that stored pixels are given as: bool as uint8 (0 and 255), any float as float32; None: refused."""
    dtype = np.dtype(stored).newbyteorder("=")
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(np.float32) if dtype.kind == "f" else dtype
    return dtype if dtype.name in SUPPORTED_DTYPES else None


def to_supported(pixels: np.ndarray) -> np.ndarray:
    """Give pixels in their supported type (``supported_dtype``), in the machine's byte order."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return pixels.astype(supported_dtype(pixels.dtype), copy=False)


def check_scale(um_per_px: float | None) -> float | None:
    """Check a pixel size.

    Raises:
        ValueError: it is no positive number.
    """
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise ValueError(f"`um_per_px` must be a positive number. Received: {um_per_px!r}")
    return um_per_px
