"""The fields of a folder: a file (or zarr or mosaic folder) each, or a group, one a channel, named by patterns."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.paths import IMAGE_SUFFIXES, all_files_under, require_folder
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.channels import ChannelMap, check_channel_map, is_pattern, parse_channel_map
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.field_files import field_name, open_field
from ctc_mm.imaging.slide_folders import is_slide_folder

FIELD_SUFFIXES = (*IMAGE_SUFFIXES, ".webp", ".lsm", ".btf", ".tf2", ".tf8", ".svs")

NO_CHANNEL = "image that no channel's file name pattern fits"
INCOMPLETE = "field that lacks a channel's file"
FOREIGN = "microscope file of a kind that is not read (export it as OME-TIFF)"
# Bio-Formats reads these, and so their makers' programs export them.
FOREIGN_SUFFIXES = (
    ".czi", ".nd2", ".lif", ".lof", ".oib", ".oif", ".oir", ".vsi", ".zvi", ".ims", ".dv", ".stk", ".ndpi",
    ".scn", ".mrxs", ".qptiff", ".bif", ".jp2", ".gif",
)  # fmt: skip
SHOWN = 5


@dataclass(frozen=True)
class FieldSource:
    """A field that is not opened yet; unlike ``Field`` it can be sent to another process.

    Attributes:
        name: name of the field: of its file, or what the patterns' ``*`` stand for; may hold ``/`` for folders.
        relative_path: of its first file, POSIX, relative to the folder that was listed.
        paths: channel name to file; the one file under "" where it holds all channels.
        channels: the channel map for one file with all channels, or None.
    """

    name: str
    relative_path: str
    paths: Mapping[str, Path]
    channels: ChannelMap | None = None

    def open(self, um_per_px: float | None = None, *, z_projection: str | None = None) -> Field:
        """Open it as ``open_field`` does; the same errors."""
        source = self.paths.get("", self.paths)
        return open_field(source, self.channels, um_per_px, self.name, z_projection=z_projection)


def list_fields(
    folder: str | Path, channels: ChannelMap | str | None = None, *, report: ConversionReport | None = None
) -> list[FieldSource]:
    """Find the fields under a folder.

    A zarr folder and a mosaic folder are a field each, like a file.

    Args:
        folder: where to look, folders below included; hidden files are left out.
        channels: file name patterns, where each channel is a file of its own: ``*`` stands for the name of the field,
            folders included, so that ``*_DAPI.tif`` and ``*_CEP8.tif`` go together where the rest of their paths is the
            same. Upper and lower case count as one. A file that fits several patterns belongs to the one with the most
            letters. Otherwise (places, names, None) each image file is a field with all channels.
        report: counts the images that belong to no field, the fields that lack a channel, and microscope files that
            cannot be read; without one they are warned of.

    Returns:
        The fields in the order of their names, folders as parts of it.

    Raises:
        AnnotationError: ``folder`` is not a folder.
        ImageReadError: no field is found, a field has two files for one channel, or two fields have one name (upper and
            lower case alike, since they would write the same files).
    """
    folder = Path(folder)
    require_folder(folder)
    wanted = parse_channel_map(channels) if isinstance(channels, str) else channels
    wanted = check_channel_map(wanted) if wanted is not None else None
    if is_slide_folder(folder):
        return [FieldSource(field_name(folder), folder.name, {"": folder}, wanted)]
    seen = {path.relative_to(folder).as_posix(): path for path in all_files_under(folder, is_slide_folder)}
    files = {relative: path for relative, path in seen.items() if _can_be_a_field(path)}
    left_out = [(FOREIGN, relative) for relative, path in seen.items() if path.suffix.lower() in FOREIGN_SUFFIXES]
    if wanted is not None and is_pattern(next(iter(wanted.values()))):
        fields = _group(files, wanted, left_out)
    else:
        fields = [
            FieldSource(str(PurePosixPath(relative).with_name(field_name(path))), relative, {"": path}, wanted)
            for relative, path in files.items()
        ]
    _tell(left_out, report)
    if not fields:
        fits = f" that fits {dict(wanted)}" if wanted is not None else ""
        found = ", ".join(list(files)[:SHOWN]) or f"no file with a suffix of {', '.join(FIELD_SUFFIXES)}"
        foreign = f"; {FOREIGN}: {', '.join(place for _, place in left_out[:SHOWN])}" if left_out and not files else ""
        raise ImageReadError(f"{folder}: no field found{fits}; there are: {found}{foreign}")
    _refuse_shared_names(folder, fields)
    return sorted(fields, key=lambda field: (field.name, field.relative_path))


def _can_be_a_field(path: Path) -> bool:
    return path.suffix.lower() in FIELD_SUFFIXES or path.is_dir()


def _group(files: Mapping[str, Path], patterns: ChannelMap, left_out: list[tuple[str, str]]) -> list[FieldSource]:
    compiled = {ours: _compile(str(pattern)) for ours, pattern in patterns.items()}
    # The pattern that says most comes first: `*.tif` must not take what `*_cd45.tif` names.
    by_weight = sorted(compiled, key=lambda ours: -len(str(patterns[ours]).replace("*", "")))
    groups: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for relative in files:
        for ours in by_weight:
            if match := compiled[ours].fullmatch(relative):
                name = "/".join(match.groups())
                members = groups.setdefault(_key(name), {})
                if ours in members:
                    raise ImageReadError(
                        f"channel {ours!r} has two files for one field: {members[ours]} and {relative}; remove or "
                        "rename one"
                    )
                members[ours] = relative
                names.setdefault(_key(name), name)
                break
        else:
            left_out.append((NO_CHANNEL, relative))
    fields = []
    for key, members in groups.items():
        name = names[key]
        missing = [ours for ours in patterns if ours not in members]
        if missing:
            left_out.append((INCOMPLETE, f"{name}: has {', '.join(members.values())}; lacks {', '.join(missing)}"))
            continue
        paths = {ours: files[members[ours]] for ours in patterns}
        fields.append(FieldSource(name, members[next(iter(patterns))], paths))
    return fields


def _key(name: str) -> str:
    """The form in which names are compared: no case, and one way of writing accents (macOS writes them apart)."""
    return unicodedata.normalize("NFC", name).casefold()


def _refuse_shared_names(folder: Path, fields: Sequence[FieldSource]) -> None:
    seen: dict[str, FieldSource] = {}
    for field in fields:
        other = seen.setdefault(_key(field.name), field)
        if other is not field:
            raise ImageReadError(
                f"{folder}: {other.relative_path} and {field.relative_path} are two fields of one name; remove or "
                "rename one"
            )


def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression: ``*`` is at least one character, in folders below too."""
    parts = [re.escape(part) for part in pattern.replace("\\", "/").split("*")]
    return re.compile("(.+?)".join(parts), re.IGNORECASE)


def _tell(left_out: list[tuple[str, str]], report: ConversionReport | None) -> None:
    for reason, place in left_out:
        if report is not None:
            report.skip(reason, place)
    if report is None and left_out:
        shown = "; ".join(f"{reason}: {place}" for reason, place in left_out[:SHOWN])
        more = f"; and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        warnings.warn(f"{len(left_out)} left out: {shown}{more}", stacklevel=3)
