"""The one field that a user names: by a file with its channels, one of its files, or the folder they are in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.channels import ChannelMap, is_pattern
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.field_files import open_field
from ctc_mm.imaging.field_list import FieldSource, list_fields
from ctc_mm.imaging.tiff_field import RGB_NAMES

BRIGHT_FIELD = "brightfield"
_SHOWN = 5


def open_one_field(
    path: str | Path,
    channels: ChannelMap | None = None,
    um_per_px: float | None = None,
    *,
    needed: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Field:
    """Open the field that a path stands for.

    Args:
        path: the file with all channels; where ``channels`` are file name patterns, one of the field's files, or a
            folder that holds a single field.
        channels: our channel name to place, name or pattern (``parse_channel_map``). None: by the channels' names in
            the file, upper and lower case alike; a file of one channel, or in colour, is taken for the channel if one
            alone is needed.
        um_per_px: side of a pixel in micrometres; None: from the file.
        needed: channels that must be there.
        optional: channels that are opened where the file names them.

    Raises:
        ImageReadError: a file that cannot be read, no such channel, no or several fields.
        ValueError: a channel map without a needed channel.
    """
    path = Path(path)
    if channels is None:
        return _open_by_names(path, um_per_px, needed, optional)
    missing = [name for name in needed if name not in channels]
    if missing:
        free = next(place for place in range(len(channels) + 1) if place not in channels.values())
        example = f"{missing[0]}=*_{missing[0]}.tif" if _are_patterns(channels) else f"{missing[0]}={free}"
        raise ValueError(
            f"channels {', '.join(channels)} are given, {', '.join(missing)} is missing; add for example {example}"
        )
    if not _are_patterns(channels):
        return open_field(path, channels, um_per_px)
    return source_by_patterns(path, channels).open(um_per_px)


def open_bright_field(path: str | Path, channels: ChannelMap | None = None, um_per_px: float | None = None) -> Field:
    """Open a bright-field image, grey or in colour.

    Args:
        path: as in ``open_one_field``.
        channels: which channel is ``brightfield``, where there are several; None: all of a colour file, the only
            channel of another, or the one named ``brightfield`` in the file.
        um_per_px: side of a pixel in micrometres; None: from the file.

    Returns:
        A field of ``red``, ``green`` and ``blue``, or of ``brightfield``.

    Raises:
        ImageReadError: a file that cannot be read, or several channels of which none is said to be meant.
        ValueError: a channel map without ``brightfield``.
    """
    if channels is None:
        field = open_field(path, um_per_px=um_per_px)
        if field.channels == RGB_NAMES:
            return field
        field.close()
    return open_one_field(path, channels, um_per_px, needed=[BRIGHT_FIELD])


def _open_by_names(path: Path, um_per_px: float | None, needed: Sequence[str], optional: Sequence[str]) -> Field:
    with open_field(path, um_per_px=um_per_px) as probe:
        in_file = probe.channels
    theirs = {name.casefold(): name for name in in_file}
    found = {name: theirs[name.casefold()] for name in (*needed, *optional) if name.casefold() in theirs}
    missing = [name for name in needed if name not in found]
    if not missing:
        return open_field(path, found, um_per_px)
    if len(needed) == 1 and (len(in_file) == 1 or in_file == RGB_NAMES):
        return open_field({needed[0]: path}, um_per_px=um_per_px)
    example = ",".join(f"{name}={place}" for place, name in enumerate(needed))
    raise ImageReadError(
        f"{path}: none of its channels ({', '.join(in_file)}) is named {', '.join(missing)}; say which are meant, by "
        f"place or name, such as {example}, or by file name, such as {needed[0]}=*_{needed[0]}.tif"
    )


def _are_patterns(channels: ChannelMap) -> bool:
    return any(is_pattern(theirs) for theirs in channels.values())


def source_by_patterns(path: Path, channels: ChannelMap) -> FieldSource:
    """Find the field that a file belongs to by file name patterns, or the only one of a folder.

    Raises:
        ImageReadError: no such file, no complete field, or several in the folder.
    """
    report = ConversionReport()
    if path.is_dir():
        sources = list_fields(path, channels, report=report)
        if len(sources) > 1:
            shown = ", ".join(source.relative_path for source in sources[:_SHOWN])
            raise ImageReadError(f"{path}: holds {len(sources)} fields; give a file of one of them, such as {shown}")
        return sources[0]
    if not path.is_file():
        raise ImageReadError(f"{path}: no such image file; check the path")
    # A pattern such as DAPI/*.tif starts a folder above the file.
    depth = max(str(pattern).count("/") for pattern in channels.values())
    parents = path.absolute().parents
    folder = parents[min(depth, len(parents) - 1)]
    for source in list_fields(folder, channels, report=report):
        if any(path.samefile(member) for member in source.paths.values()):
            return source
    reasons = "; ".join(place for places in report.skipped.values() for place in places if path.name in place)
    listed = ",".join(f"{ours}={pattern}" for ours, pattern in channels.items())
    because = f" ({reasons})" if reasons else ""
    raise ImageReadError(f"{path}: belongs to no complete field of {listed} in {folder}{because}")
