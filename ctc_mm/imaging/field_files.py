"""Opening a field from one file (or zarr or mosaic folder) with all its channels, or from one a channel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channel_files import only_channel, open_file_channels
from ctc_mm.imaging.channels import (
    ChannelMap,
    check_channel_map,
    display_names,
    find_channel,
    is_pattern,
    parse_channel_map,
)
from ctc_mm.imaging.field import Channel, ChannelSource, Field, RegionXYXY, check_scale
from ctc_mm.imaging.mosaic import MosaicChannels
from ctc_mm.imaging.rectangles import uncovered_xyxy
from ctc_mm.imaging.slide_folders import POSITIONS_FILE, is_mosaic_folder, is_zarr_folder
from ctc_mm.imaging.tiff_metadata import square_um_per_px
from ctc_mm.imaging.zarr_field import ZarrChannels

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
    """Open a field for reading; the pixels of TIFF, zarr and mosaics stay on disk, other files are decoded at once.

    Pages, samples of a pixel (RGB) and OME channels of a TIFF are channels, and so are red, green and blue of a PNG or
    JPEG. Where each channel is a file of its own and that file is in colour, its brightest colour is the grey value,
    since a channel drawn in one colour carries its grey value there; ``notes`` says so.

    Args:
        source: one file with all channels, a zarr folder (``ZarrChannels``), a mosaic folder (``MosaicChannels``), or
            channel name to file or folder.
        channels: our channel name to its place (from 0) or its name in the file; None: all channels of the file, by
            their names or places. Beside a mapping it says which channel of each file is meant.
        um_per_px: side of a pixel in micrometres; None: from the file's metadata (OME, ImageJ, LSM, SVS, resolution
            tags finer than 10 um).
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
    """Name of a field by its file or folder: without ``.ome.tif``, ``.zarr`` or another ending of a file."""
    name = path.name if path.is_dir() and not is_zarr_folder(path) else path.stem
    return name.removesuffix(".ome")


def _field_of_one_file(
    path: Path, wanted: ChannelMap | None, um_per_px: float | None, name: str, z_projection: str | None
) -> Field:
    wanted = check_channel_map(wanted) if wanted is not None else None
    if wanted is not None and any(is_pattern(theirs) for theirs in wanted.values()):
        raise ValueError(f"{path}: file name patterns are for a folder (list_fields). Received: {wanted}")
    source = open_channels(path, um_per_px, z_projection)
    try:
        if wanted is None:
            wanted = {ours: place for place, ours in enumerate(display_names(source.names))}
        places = {ours: find_channel(theirs, source.names, str(path)) for ours, theirs in wanted.items()}
        twice = next((place for place in places.values() if list(places.values()).count(place) > 1), None)
        if twice is not None:
            raise ImageReadError(f"{path}: channel {twice} is given twice, by {wanted}; each needs one of its own")
        scale = um_per_px if um_per_px is not None else _scale_of(source, path)
        found = {ours: Channel(source, place, str(path)) for ours, place in places.items()}
        return Field(name, _all_paths([path], [source]), found, scale, source.notes, _gaps([source]))
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
            source = opened.get(str(path)) or open_channels(path, um_per_px, z_projection)
            opened[str(path)] = source
            channels[ours] = only_channel(source, path, ours, (wanted or {}).get(ours))
        _refuse_shared_channel(channels)
        scale = um_per_px if um_per_px is not None else _common_scale(paths, opened)
        notes = tuple(dict.fromkeys(note for channel in channels.values() for note in channel.source.notes))
        files = _all_paths(paths.values(), opened.values())
        return Field(name or _common_name(paths), files, channels, scale, notes, _gaps(opened.values()))
    except ValueError:
        for source in opened.values():
            source.close()
        raise


def open_channels(path: Path, um_per_px: float | None = None, z_projection: str | None = None) -> ChannelSource:
    """Open the channels of a file or folder.

    Args:
        path: image file, zarr folder or mosaic folder.
        um_per_px: of a mosaic whose positions are in um.
        z_projection: as in ``open_field``.

    Raises:
        ImageReadError: it cannot be read.
    """
    if not path.is_dir():
        return open_file_channels(path, z_projection)
    if is_zarr_folder(path):
        return ZarrChannels(path, z_projection)
    if is_mosaic_folder(path):
        return MosaicChannels(path, um_per_px, z_projection)
    raise ImageReadError(
        f"{path}: is a folder without {POSITIONS_FILE} (a mosaic) or zarr metadata; give an image file, or list the "
        "fields of the folder"
    )


def _all_paths(given: Iterable[Path], sources: Iterable[ChannelSource]) -> tuple[Path, ...]:
    """The files given, then those that they refer to."""
    return tuple(dict.fromkeys([*given, *(path for source in sources for path in source.paths)]))


def _gaps(sources: Iterable[ChannelSource]) -> tuple[RegionXYXY, ...]:
    """Where some mosaic among the sources has no field."""
    gaps = [(source.size_wh, source.gaps_xyxy) for source in sources if isinstance(source, MosaicChannels)]
    if len(gaps) < 2:
        return gaps[0][1] if gaps else ()
    size_wh = gaps[0][0]
    return uncovered_xyxy(size_wh, uncovered_xyxy(size_wh, [gap for _, some in gaps for gap in some]))


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
