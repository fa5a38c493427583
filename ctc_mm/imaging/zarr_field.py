"""The channels of a zarr folder (plain array or OME-Zarr), read chunk by chunk at level 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.field import RegionXYXY, supported_dtype, to_supported
from ctc_mm.imaging.tiff_field import RGB_NAMES
from ctc_mm.imaging.zarr_metadata import ZARR_ERRORS, open_zarr_image

# Chunks are looked for one by one; beyond so many it takes too long to say which are left out.
MOST_COUNTED_CHUNKS = 100_000
_AXIS_WORDS = {"z": "z-stack", "t": "time series"}


class ZarrChannels:
    """The channels of one zarr folder, none of them loaded.

    Several threads may read at once.

    Args:
        path: folder of a zarr array (y, x), (channel, y, x), (y, x, RGB), or of an OME-Zarr image.
        z_projection: None refuses a z-stack, ``"max"`` takes the brightest of all planes.

    Attributes:
        names: name of each channel, or None.
        size_wh: width and height in pixels.
        dtype: uint8, uint16 or float32.
        um_per_px_xy: width and height of a pixel, or None.
        notes: remarks a user should see.
        paths: ``()``; all files lie in the folder.

    Raises:
        ImageReadError: no zarr image of channels: damaged, a z-stack, a time series, unsupported pixels.
    """

    paths: tuple[Path, ...] = ()

    def __init__(self, path: Path, z_projection: str | None = None) -> None:
        self.path = path
        image = open_zarr_image(path)
        self._array, self._axes = image.array, image.axes
        self._sizes = dict(zip(image.axes, image.array.shape, strict=True))
        self._check_axes(z_projection)
        self._channel_axis = next((axis for axis in "cs" if axis in self._sizes), "")
        self.size_wh = (self._sizes["x"], self._sizes["y"])
        self.um_per_px_xy = image.um_per_px_xy
        dtype = supported_dtype(self._array.dtype)
        if dtype is None:
            raise ImageReadError(
                f"{path}: {self._array.dtype.name} pixels are not supported; save it as uint8, uint16 or float32"
            )
        self.dtype = dtype
        self.names = self._name_channels(image.names)
        self.notes = (*image.notes, *self._remarks())

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region of some channels: a plane (h, w) in ``dtype`` for each.

        Raises:
            ImageReadError: damaged chunks.
        """
        try:
            planes = self._read_planes(indices, region_xyxy, 0)
            for z in range(1, self._sizes.get("z", 1)):
                deeper = self._read_planes(indices, region_xyxy, z)
                planes = [np.maximum(*pair) for pair in zip(planes, deeper, strict=True)]
        except ZARR_ERRORS as error:
            names = ", ".join(str(self.names[index] or index) for index in indices)
            raise ImageReadError(
                f"{self.path}: channel {names} of shape {self.size_wh[::-1]} cannot be decoded in the region "
                f"{region_xyxy} ({error}); copy or export the folder again"
            ) from error
        return planes

    def close(self) -> None:
        """Nothing is kept open between reads."""

    def _read_planes(self, indices: Sequence[int], region_xyxy: RegionXYXY, z: int) -> list[np.ndarray]:
        x0, y0, x1, y1 = region_xyxy
        selection: dict[str, int | slice] = {"y": slice(y0, y1), "x": slice(x0, x1), "z": z}
        if self._channel_axis == "s":  # the samples of a pixel lie in one chunk
            pixels = self._select({**selection, "s": slice(None)}, "yxs")
            return [pixels[..., index] for index in indices]
        return [self._select({**selection, "c": index}, "yx") for index in indices]

    def _select(self, selection: dict[str, int | slice], axes: str) -> np.ndarray:
        """Pixels of a selection, axes in the order given; those that are not selected are of size 1."""
        pixels = to_supported(np.asarray(self._array[tuple(selection.get(axis, 0) for axis in self._axes)]))
        left = [axis for axis in self._axes if isinstance(selection.get(axis, 0), slice)]
        return pixels.transpose([left.index(axis) for axis in axes])

    def _check_axes(self, z_projection: str | None) -> None:
        shape = f"shape {self._array.shape} (axes {self._axes})"
        if 0 in self._array.shape:
            raise ImageReadError(f"{self.path}: the image has no pixels, {shape}; export it again")
        if not {"x", "y"} <= set(self._sizes):
            raise ImageReadError(f"{self.path}: no plane of rows and columns, {shape}; export it as an image")
        for axis, size in self._sizes.items():
            if axis in "yxcs" or size == 1 or (axis == "z" and z_projection == "max"):
                continue
            cure = "export one plane, or a maximum projection" if axis == "z" else "export each image by itself"
            raise ImageReadError(f"{self.path}: {_AXIS_WORDS.get(axis, f'axis {axis}')} of {size}, {shape}; {cure}")
        if self._sizes.get("c", 1) > 1 and self._sizes.get("s", 1) > 1:
            raise ImageReadError(f"{self.path}: several colour images, {shape}; save each channel as one grey plane")

    def _name_channels(self, names: tuple[str | None, ...]) -> tuple[str | None, ...]:
        count = self._sizes.get(self._channel_axis, 1)
        if self._channel_axis == "s" and count in (3, 4):  # the fourth is opacity
            return RGB_NAMES
        return (*names, *[None] * count)[:count]

    def _remarks(self) -> list[str]:
        chunks = self._array.nchunks
        if chunks > MOST_COUNTED_CHUNKS:
            return []
        left_out = chunks - self._array.nchunks_initialized
        return [f"{self.path}: {left_out} of {chunks} chunks are left out, read as {self._array.fill_value}"] * (
            left_out > 0
        )
