"""The fields of a mosaic: what their headers say, which belong together, and one of them opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channel_files import only_channel, open_file_channels
from ctc_mm.imaging.decode import image_size_wh, is_tiff
from ctc_mm.imaging.field import ArrayChannels, ChannelSource
from ctc_mm.imaging.mosaic_positions import Position, Positions
from ctc_mm.imaging.tiff_field import TiffChannels
from ctc_mm.imaging.tiff_metadata import square_um_per_px

# No mosaic of a microscope is wider: half a metre at 0.05 um per px.
LARGEST_PX = 10_000_000
_SHOWN = 5


@dataclass(frozen=True)
class PlacedField:
    """A field in its place.

    Attributes:
        path: its file.
        channel: which channel it holds; "" where it holds all.
        box_xyxy: half-open pixels of the mosaic.
    """

    path: Path
    channel: str
    box_xyxy: tuple[int, int, int, int]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the field."""
        x0, y0, x1, y1 = self.box_xyxy
        return x1 - x0, y1 - y0


@dataclass(frozen=True, eq=False)
class Layer:
    """Fields side by side that hold the same channels.

    Attributes:
        channel: the one channel of all of them; "" where each holds all channels.
        fields: in the order of the table.
        boxes_xyxy: (N, 4) int64, their places.
        names: of the channels in the files.
        dtype: of the pixels.
    """

    channel: str
    fields: tuple[PlacedField, ...]
    boxes_xyxy: np.ndarray
    names: tuple[str | None, ...]
    dtype: np.dtype


class OpenField:
    """A field of a layer, opened.

    Attributes:
        source: its channels.
        decoded_bytes: memory of its pixels, where they are held.

    Raises:
        ImageReadError: it cannot be read, or is not like the others.
    """

    def __init__(self, field: PlacedField, layer: Layer, z_projection: str | None) -> None:
        self.source, names = _open(field.path, field.channel, z_projection)
        found = (names, self.source.dtype, self.source.size_wh)
        if found != (layer.names, layer.dtype, field.size_wh):
            self.source.close()
            raise ImageReadError(
                f"{field.path}: {self.source.dtype} pixels of channels {names}, size {self.source.size_wh}, where the "
                f"mosaic has {layer.dtype}, {layer.names}, {field.size_wh}; export all fields in the same way"
            )
        width, height = field.size_wh
        is_held = isinstance(self.source, ArrayChannels)
        self.decoded_bytes = width * height * len(names) * self.source.dtype.itemsize if is_held else 0

    def close(self) -> None:
        """Close the file."""
        self.source.close()


def place_fields(
    positions: Positions, um_per_px: float | None, z_projection: str | None
) -> tuple[list[PlacedField], float | None]:
    """Read the headers of all fields and put them in their places, the leftmost and topmost at 0.

    Returns:
        The fields in the order of the table, and the pixel size in um, where known: given, the table's or the first
        field's that has one.

    Raises:
        ImageReadError: fields that cannot be read (all are named), positions in um without a pixel size, fields of one
            channel at the same place.
    """
    headers, problems = [], []
    for field in positions.fields:
        try:
            headers.append(_header(field.path, z_projection))
        except ImageReadError as error:
            problems.append(str(error))
    if problems:
        more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ImageReadError("\n".join(problems[:_SHOWN]) + more)
    scale = um_per_px or positions.um_per_px or next((um for _, um in headers if um is not None), None)
    if positions.in_um and scale is None:
        raise ImageReadError(
            f"{positions.fields[0].place}: positions are in um, and neither the table (column um_per_px) nor the "
            "fields say how large a pixel is; give um_per_px (--um-per-px)"
        )
    xy = np.array([field.xy for field in positions.fields], np.float64)
    apart = (xy - xy.min(axis=0)) / (scale if positions.in_um else 1.0)
    farthest = apart.max(axis=1).argmax()
    if not apart.max() <= LARGEST_PX:
        raise ImageReadError(
            f"{positions.fields[farthest].place}: the field lies {apart[farthest].max():g} px from the others; mend "
            "its position, or the unit of the columns"
        )
    corners = np.rint(apart).astype(np.int64)
    placed = [
        PlacedField(field.path, field.channel, (int(x), int(y), int(x) + width, int(y) + height))
        for field, (x, y), ((width, height), _) in zip(positions.fields, corners, headers, strict=True)
    ]
    _refuse_same_place(positions.fields, placed)
    return placed, scale


def make_layers(placed: Sequence[PlacedField], z_projection: str | None) -> list[Layer]:
    """Group fields by channel; what a channel looks like is told by its first field that can be read.

    Raises:
        ImageReadError: none of a channel's fields can be read.
    """
    layers = []
    for channel in dict.fromkeys(field.channel for field in placed):
        fields = tuple(field for field in placed if field.channel == channel)
        boxes = np.array([field.box_xyxy for field in fields], np.int64)
        layers.append(Layer(channel, fields, boxes, *_looks(fields, z_projection)))
    return layers


def _looks(fields: Sequence[PlacedField], z_projection: str | None) -> tuple[tuple[str | None, ...], np.dtype]:
    """Names and dtype of the channels of the first field that can be opened."""
    for number, field in enumerate(fields):
        try:
            source, names = _open(field.path, field.channel, z_projection)
        except ImageReadError:
            if number == len(fields) - 1:
                raise
            continue  # it is told of when its place is read
        source.close()
        return names, source.dtype
    raise ImageReadError("a mosaic without fields")


def _open(path: Path, channel: str, z_projection: str | None) -> tuple[ChannelSource, tuple[str | None, ...]]:
    source = open_file_channels(path, z_projection)
    if not channel:
        return source, source.names
    try:
        return only_channel(source, path, channel, None).source, (None,)
    except ImageReadError:
        source.close()
        raise


def _header(path: Path, z_projection: str | None) -> tuple[tuple[int, int], float | None]:
    """Size and pixel size in um of a field, without its pixels."""
    if not is_tiff(path):
        return image_size_wh(path), None
    source = TiffChannels(path, z_projection)
    source.close()
    um = source.um_per_px_xy
    return source.size_wh, None if um is None else square_um_per_px(um, str(path))


def _refuse_same_place(positions: Sequence[Position], placed: Sequence[PlacedField]) -> None:
    """A field that lies exactly over another was meant as another channel of it, or is a mistake."""
    seen: dict[tuple, Position] = {}
    for position, field in zip(positions, placed, strict=True):
        other = seen.setdefault((field.channel, field.box_xyxy), position)
        if other is not position:
            raise ImageReadError(
                f"{position.place}: {field.path.name} lies exactly over {other.path.name}; where they are channels of "
                "one field, say so in a column 'channel', else remove one"
            )
