"""Opening a field from one file with all its channels, or from one file a channel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channels import (
    ChannelMap,
    check_channel_map,
    display_names,
    find_channel,
    is_pattern,
    parse_channel_map,
)
from ctc_mm.imaging.decode import is_tiff, read_image
from ctc_mm.imaging.field import ArrayChannels, Channel, ChannelSource, Field, RegionXYXY, check_scale
from ctc_mm.imaging.tiff_field import RGB_NAMES, TiffChannels
from ctc_mm.imaging.tiff_metadata import square_um_per_px

# Pixel sizes that the files of one field give may differ by this much and still be rounding.
SCALE_TOLERANCE = 0.01


def open_field(
    source: str | Path | Mapping[str, str | Path],
    channels: ChannelMap | str | None = None,
    um_per_px: float | None = None,
    name: str | None = None,
    *,
    z_projection: str | None = None,
) -> Field:
    """Open a field for reading; the pixels of TIFF files stay on disk, other files are decoded at once.

    Pages, samples of a pixel (RGB) and OME channels of a TIFF are channels, and so are red, green and blue of a PNG or
    JPEG. Where each channel is a file of its own and that file is in colour, its brightest colour is the grey value,
    since a channel drawn in one colour carries its grey value there; ``notes`` says so.

    Args:
        source: one file with all channels, or channel name to file.
        channels: our channel name to its place (from 0) or its name in the file; None: all channels of the file, by
            their names or places. Beside a mapping it says which channel of each file is meant.
        um_per_px: side of a pixel in micrometres; None: from the file's metadata (OME, ImageJ, LSM, resolution tags
            finer than 10 um).
        name: name of the field; None: from the file names.
        z_projection: None refuses z-stacks; ``"max"`` takes the brightest of the planes.

    Raises:
        ImageReadError: a file that cannot be read as channels, a channel it does not have, channels of different size.
        ValueError: a channel map or pixel size that cannot be meant.
    """
    if z_projection not in (None, "max"):
        raise ValueError(f"`z_projection` must be None or 'max'. Received: {z_projection!r}")
    um_per_px = check_scale(um_per_px)
    wanted = parse_channel_map(channels) if isinstance(channels, str) else channels
    if not isinstance(source, Mapping):
        path = Path(source)
        return _field_of_one_file(path, wanted, um_per_px, name or field_name(path), z_projection)
    return _field_of_files({ours: Path(path) for ours, path in source.items()}, wanted, um_per_px, name, z_projection)


def field_name(path: Path) -> str:
    """Name of a field by its file: without ``.ome.tif`` or another ending."""
    return path.stem.removesuffix(".ome")


def _field_of_one_file(
    path: Path, wanted: ChannelMap | None, um_per_px: float | None, name: str, z_projection: str | None
) -> Field:
    wanted = check_channel_map(wanted) if wanted is not None else None
    if wanted is not None and any(is_pattern(theirs) for theirs in wanted.values()):
        raise ValueError(f"{path}: file name patterns are for a folder (list_fields). Received: {wanted}")
    source = open_channels(path, z_projection)
    try:
        if wanted is None:
            wanted = {ours: place for place, ours in enumerate(display_names(source.names))}
        places = {ours: find_channel(theirs, source.names, str(path)) for ours, theirs in wanted.items()}
        twice = next((place for place in places.values() if list(places.values()).count(place) > 1), None)
        if twice is not None:
            raise ImageReadError(f"{path}: channel {twice} is given twice, by {wanted}; each needs one of its own")
        scale = um_per_px if um_per_px is not None else _scale_of(source, path)
        found = {ours: Channel(source, place, str(path)) for ours, place in places.items()}
        return Field(name, _all_paths([path], [source]), found, scale, source.notes)
    except ValueError:
        source.close()
        raise


def _field_of_files(
    paths: Mapping[str, Path],
    wanted: ChannelMap | None,
    um_per_px: float | None,
    name: str | None,
    z_projection: str | None,
) -> Field:
    if not paths:
        raise ValueError("a field needs at least one channel. Received: {}")
    stray = sorted(set(wanted or ()) - set(paths))
    if stray:
        raise ValueError(f"channels {stray} have no file; files are given for {list(paths)}")
    opened: dict[str, ChannelSource] = {}
    channels: dict[str, Channel] = {}
    try:
        for ours, path in paths.items():
            source = opened.get(str(path)) or open_channels(path, z_projection)
            opened[str(path)] = source
            channels[ours] = _only_channel(source, path, ours, (wanted or {}).get(ours))
        _refuse_shared_channel(channels)
        scale = um_per_px if um_per_px is not None else _common_scale(paths, opened)
        notes = tuple(dict.fromkeys(note for channel in channels.values() for note in channel.source.notes))
        return Field(name or _common_name(paths), _all_paths(paths.values(), opened.values()), channels, scale, notes)
    except ValueError:
        for source in opened.values():
            source.close()
        raise


def open_channels(path: Path, z_projection: str | None = None) -> ChannelSource:
    """Open the channels of a file.

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


def _only_channel(source: ChannelSource, path: Path, ours: str, theirs: int | str | None) -> Channel:
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


def _all_paths(given: Iterable[Path], sources: Iterable[ChannelSource]) -> tuple[Path, ...]:
    """The files given, then those that they refer to."""
    return tuple(dict.fromkeys([*given, *(path for source in sources for path in source.paths)]))


def _refuse_shared_channel(channels: Mapping[str, Channel]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for ours, channel in channels.items():
        other = seen.setdefault((channel.where, channel.index), ours)
        if other != ours:
            raise ImageReadError(f"{channel.where}: given twice, for channels {other!r} and {ours!r}")


def _scale_of(source: ChannelSource, path: Path) -> float | None:
    return None if source.um_per_px_xy is None else square_um_per_px(source.um_per_px_xy, str(path))


def _common_scale(paths: Mapping[str, Path], opened: Mapping[str, ChannelSource]) -> float | None:
    scales = {ours: _scale_of(opened[str(path)], path) for ours, path in paths.items()}
    known = {ours: scale for ours, scale in scales.items() if scale is not None}
    if known and max(known.values()) > min(known.values()) * (1 + SCALE_TOLERANCE):
        listed = ", ".join(f"{ours} {scale:g} um ({paths[ours]})" for ours, scale in known.items())
        raise ImageReadError(f"channels of different pixel size: {listed}; give um_per_px")
    return next(iter(known.values()), None)


def _common_name(paths: Mapping[str, Path]) -> str:
    names = [field_name(path) for path in paths.values()]
    return os.path.commonprefix(names).rstrip(" _-.") or names[0]
