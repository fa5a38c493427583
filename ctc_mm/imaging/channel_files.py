"""The channels of one image file, and the one channel that a file is given for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channels import display_names, find_channel
from ctc_mm.imaging.decode import is_tiff, read_image
from ctc_mm.imaging.field import ArrayChannels, Channel, ChannelSource, RegionXYXY
from ctc_mm.imaging.tiff_field import RGB_NAMES, TiffChannels


def open_file_channels(path: Path, z_projection: str | None = None) -> ChannelSource:
    """Open the channels of a file: a TIFF lazily, other kinds decoded at once.

    Raises:
        ImageReadError: it cannot be read.
    """
    if is_tiff(path):
        return TiffChannels(path, z_projection)
    image = read_image(path)
    if image.ndim == 2:
        return ArrayChannels(image[None], (None,), str(path))
    return ArrayChannels(np.moveaxis(image, -1, 0), RGB_NAMES, str(path))


class _BrightestColour:
    """A colour file as one channel: the largest of red, green and blue."""

    names = (None,)

    def __init__(self, source: ChannelSource, path: Path) -> None:
        self._source = source
        self.size_wh, self.dtype, self.um_per_px_xy = source.size_wh, source.dtype, source.um_per_px_xy
        self.paths = source.paths
        self.notes = (*source.notes, f"{path}: a colour file for one channel, read as its brightest colour")

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region: a plane (h, w) for each index."""
        grey = np.maximum.reduce(self._source.read(range(len(RGB_NAMES)), region_xyxy))
        return [grey for _ in indices]

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def only_channel(source: ChannelSource, path: Path, ours: str, theirs: int | str | None) -> Channel:
    """Find the channel that a file is given for.

    Args:
        source: its channels.
        path: the file, for errors.
        ours: what we call the channel.
        theirs: its place or name in the file; None: the only one, or the brightest colour of a file in colour.

    Raises:
        ImageReadError: no such channel, or several of which none is said to be meant.
    """
    if theirs is not None:
        return Channel(source, find_channel(theirs, source.names, str(path)), str(path))
    if source.names == RGB_NAMES:
        return Channel(_BrightestColour(source, path), 0, str(path))
    if len(source.names) > 1:
        raise ImageReadError(
            f"{path}: given for channel {ours!r} alone, but holds {len(source.names)} channels of shape "
            f"{source.size_wh[::-1]}: {', '.join(display_names(source.names))}; say which one in the channel map"
        )
    return Channel(source, 0, str(path))
