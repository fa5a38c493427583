"""Which slides to count: files, folders, patterns of names, and tables of slides with what the lab knows of them."""

from __future__ import annotations

import glob
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ctc_mm.counting.records import PATIENT, SPIKE_IN, SlideSpec
from ctc_mm.counting.slide_table import GIVEN_TWICE, TABLE_SUFFIXES, SlideRow, read_slide_table
from ctc_mm.errors import CTCError, SlideError
from ctc_mm.formats.report import SHOWN_PROBLEMS, ConversionReport
from ctc_mm.imaging.channels import ChannelMap, check_channel_map, is_pattern, parse_channel_map
from ctc_mm.imaging.decode import is_tiff
from ctc_mm.imaging.field_files import field_name
from ctc_mm.imaging.field_list import FIELD_SUFFIXES, FOREIGN, FOREIGN_SUFFIXES, FieldSource, list_fields
from ctc_mm.imaging.one_field import source_by_patterns
from ctc_mm.imaging.slide_folders import is_slide_folder

# What no file system takes in a name, and what separates folders.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')
_LONGEST_NAME, _LONGEST_NAME_BYTES = 120, 200
NO_IMAGE = "file that is no image"


@dataclass(frozen=True)
class _Found:
    """A slide and where it was named, for messages."""

    place: str
    spec: SlideSpec


def find_slides(
    inputs: Sequence[str | Path] = (),
    *,
    table: str | Path | None = None,
    channels: ChannelMap | str | None = None,
    um_per_px: float | None = None,
    volume_ml: float | None = None,
    dilution: float | None = None,
    patient: str | None = None,
    role: str | None = None,
    spiked: float | None = None,
    leave_out: str | Path | None = None,
    report: ConversionReport | None = None,
) -> list[SlideSpec]:
    """Find the slides that a user names; none is opened.

    Args:
        inputs: files; folders (each field in them is a slide; a zarr folder or a mosaic is one slide); patterns such as
            ``day1/*.tif`` (``**`` for folders below); tables (``.csv``, ``.tsv``, ``.xlsx``).
        table: one more table of slides, see ``read_slide_table``.
        channels: channel map as everywhere (``dapi=0,cep8=1``, or file name patterns); None: all of each file.
        um_per_px: side of a pixel in micrometres, in the place of what the files say.
        volume_ml: volume of the sample on each slide, in mL.
        dilution: mL of sample that one mL of blood became; None: 1.
        patient: whose blood it is.
        role: ``patient``, ``blank`` or ``spike_in``; None: ``spike_in`` where ``spiked`` is given, else ``patient``.
        spiked: number of cells added.
        leave_out: folder of results; what lies in it is no slide to a folder or pattern that holds it.
        report: counts the images of folders that belong to no slide; without one they are warned of.

        What a table says of a slide goes before the arguments.

    Returns:
        The slides in the order given, those of a folder or pattern by name. A slide is named after its file, folders
        below the one given put before it (``p1/f1.tif`` becomes ``p1_f1``), or as the table says.

    Raises:
        SlideError: no slide, or anything wrong with some of them: all problems in one list, each with file, line,
            column, value and cure.
    """
    given = {"um_per_px": um_per_px, "volume_ml": volume_ml, "dilution": dilution, "patient": patient, "role": role}
    finder = _Finder({**given, "spiked": spiked}, channels, None if leave_out is None else Path(leave_out), report)
    for one in inputs:
        finder.collect(str(one), finder.of_input)
    if table is not None:
        finder.collect(str(table), finder.of_table)
    if not inputs and table is None:
        raise SlideError("no slide is given; name files, folders, patterns such as 'day1/*.tif', or a table of slides")
    return finder.slides()


class _Finder:
    """Collects slides and problems.

    Args:
        known: fields of ``SlideSpec`` that hold for all slides; None where not given.
        channels: channel map for all slides.
        leave_out: folder of results.
        report: of what belongs to no slide.
    """

    def __init__(
        self,
        known: dict[str, Any],
        channels: ChannelMap | str | None,
        leave_out: Path | None,
        report: ConversionReport | None,
    ) -> None:
        self._known, self._report = known, report
        self._results = None if leave_out is None else leave_out.resolve()
        self._channels = _channel_map(channels)
        self._found: list[_Found] = []
        self._problems: list[str] = []

    def collect(self, text: str, find: Callable[[str], None]) -> None:
        """Find slides; what is wrong with them is kept for the end."""
        try:
            find(text)
        except (CTCError, ValueError, OSError) as error:
            self._problems.append(str(error))

    def slides(self) -> list[SlideSpec]:
        """All slides found.

        Raises:
            SlideError: there were problems.
        """
        self._look_for_twins()
        if self._problems:
            shown = [f"- {problem}" for problem in self._problems[:SHOWN_PROBLEMS]]
            more = len(self._problems) - SHOWN_PROBLEMS
            shown += [f"- and {more} more"] if more > 0 else []
            many = len(self._problems) > 1
            head = f"{len(self._problems)} problems with the slides, nothing counted:\n" if many else ""
            raise SlideError(head + ("\n".join(shown) if many else self._problems[0]))
        return [found.spec for found in self._found]

    def of_input(self, text: str) -> None:
        """Take what one argument names."""
        path = Path(text)
        if path.exists():
            self._of_path(path, "", "")
            return
        if not glob.has_magic(text):
            raise SlideError(f"{text}: no such file or folder; check the path")
        root = _fixed_folder(path)
        below = ((match, match.relative_to(root)) for match in root.glob(str(path.relative_to(root))))
        matches = sorted(match for match, rest in below if not any(part[0] == "." for part in rest.parts))
        matches = [match for match in matches if not any(is_slide_folder(above) for above in match.parents)]
        matches = [match for match in matches if not self._is_result(match) and self._can_be_slide(match)]
        if not matches:
            self._check_results_apart(root)
            raise SlideError(f"{text}: no image or folder has such a name; check the pattern")
        for match in matches:
            inner = match.relative_to(root)
            above = "".join(f"{part}/" for part in inner.parts[:-1])
            take = partial(self._of_path, above=above, as_folder=f"{above}{match.name}/")
            self.collect(str(match), lambda text, take=take: take(Path(text)))

    def of_table(self, text: str) -> None:
        """Take the slides of a table."""
        rows, problems = read_slide_table(text, self._known["spiked"])
        self._problems += problems
        for row in rows:
            self.collect(row.place, lambda place, row=row: self._of_row(place, row))

    def _of_path(self, path: Path, above: str, as_folder: str) -> None:
        """Take a file or folder; ``above`` and ``as_folder`` come before the names of a slide, and of those in it."""
        if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
            self.of_table(str(path))
        elif path.is_dir() and not is_slide_folder(path):
            listed = list_fields(path, self._channels, report=self._report)
            sources = [source for source in listed if not self._is_result(path / source.relative_path)]
            if not sources:
                self._check_results_apart(path)
                raise SlideError(f"{path}: holds no slide, only results of a count; name the slides")
            for source in sources:
                self._add(str(path / source.relative_path), replace(source, name=as_folder + source.name), self._known)
        else:
            source = _source_of(path, above, self._channels)
            if self._channels is not None and _by_patterns(self._channels) and self._is_known(source):
                return  # another channel of a field that was named by one before
            self._add(str(path), source, self._known)

    def _of_row(self, place: str, row: SlideRow) -> None:
        channels = self._channels if row.channels is None else row.channels
        try:
            source = _source_of(row.path, "", channels)
        except (CTCError, ValueError) as error:
            raise SlideError(f"{place}: {error}") from error
        known = {**self._known, **row.known}
        # What the row says of added cells or of its role decides about both.
        if "spiked" in row.known and "role" not in row.known:
            known["role"] = SPIKE_IN
        elif row.known.get("role", SPIKE_IN) != SPIKE_IN and "spiked" not in row.known:
            known["spiked"] = None
        self._add(place, source, known, row.name)

    def _add(self, place: str, source: FieldSource, known: dict[str, Any], name: str | None = None) -> None:
        values = {key: value for key, value in known.items() if value is not None}
        values.setdefault("role", SPIKE_IN if "spiked" in values else PATIENT)
        # Another process, which may read it, runs in another folder.
        source = replace(source, paths={ours: path.absolute() for ours, path in source.paths.items()})
        try:
            spec = SlideSpec(name or name_for_files(source.name), source, **values)
        except ValueError as error:
            raise SlideError(f"{place}: {error}") from error
        self._found.append(_Found(place, spec))

    def _is_result(self, path: Path) -> bool:
        return self._results is not None and path.resolve().is_relative_to(self._results)

    def _check_results_apart(self, folder: Path) -> None:
        if self._is_result(folder):
            raise SlideError(
                f"{folder}: lies in the folder of results {self._results}, and nothing in that is taken for a slide; "
                "give another folder for the results (--out), one inside that of the slides will do"
            )

    def _can_be_slide(self, match: Path) -> bool:
        """Whether a file that fits a pattern may be meant; others are told."""
        suffix = match.suffix.lower()
        if match.is_dir() or suffix in (*FIELD_SUFFIXES, *TABLE_SUFFIXES):
            return True
        reason = FOREIGN if suffix in FOREIGN_SUFFIXES else NO_IMAGE
        if self._report is None:
            warnings.warn(f"{match}: {reason}", stacklevel=5)
        else:
            self._report.skip(reason, str(match))
        return False

    def _is_known(self, source: FieldSource) -> bool:
        return any(_same_files(found.spec.source, source) for found in self._found)

    def _look_for_twins(self) -> None:
        """Slides of one name would write the same files; one slide twice would be counted twice."""
        names: dict[str, _Found] = {}
        files: dict[tuple, _Found] = {}
        for found in self._found:
            other = names.setdefault(unicodedata.normalize("NFC", found.spec.name).casefold(), found)
            twin = files.setdefault(_files_of(found.spec.source), found)
            if twin is not found:
                self._problems.append(GIVEN_TWICE.format(place=found.place, twin=twin.place))
            elif other is not found:
                self._problems.append(
                    f"{found.place}: slide name {found.spec.name!r} is that of {other.place} too, and names the folder "
                    "of its results; give names in a table (column name), or the folder or a quoted pattern that holds "
                    "both, so that folders count"
                )


def name_for_files(name: str) -> str:
    """A slide's name from that of its field, fit for a folder on any system: ``p1/f 1`` becomes ``p1_f 1``."""
    fit = _NOT_IN_NAMES.sub("_", unicodedata.normalize("NFC", name)).strip(" .")[:_LONGEST_NAME]
    # File systems limit bytes, and a letter may take four.
    return fit.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore").rstrip(" .") or "slide"


def _channel_map(channels: ChannelMap | str | None) -> dict[str, int | str] | None:
    try:
        wanted = parse_channel_map(channels) if isinstance(channels, str) else channels
        return None if wanted is None else check_channel_map(wanted)
    except (ValueError, TypeError) as error:
        raise SlideError(f"`channels`: {error}") from error


def _source_of(path: Path, above: str, channels: ChannelMap | None) -> FieldSource:
    """The one field that a path stands for."""
    if not path.exists():
        raise SlideError(f"{path}: no such file or folder; check the path")
    if channels is not None and _by_patterns(channels):
        return source_by_patterns(path, channels)
    if path.is_dir() and not is_slide_folder(path):
        fields = list_fields(path, channels, report=ConversionReport())
        if len(fields) > 1:
            raise SlideError(
                f"{path}: holds {len(fields)} images, where one slide is meant; name them one by one, or place them as "
                "a mosaic with a positions.csv"
            )
        return fields[0]
    if path.is_file() and path.suffix.lower() in FOREIGN_SUFFIXES and not is_tiff(path):
        raise SlideError(f"{path}: {FOREIGN}")
    return FieldSource(above + field_name(path), path.name, {"": path}, channels)


def _by_patterns(channels: ChannelMap) -> bool:
    return any(is_pattern(theirs) for theirs in channels.values())


def _fixed_folder(pattern: Path) -> Path:
    """The folder of a pattern above its first ``*``."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _files_of(source: FieldSource) -> tuple:
    files = sorted((ours, str(path.resolve())) for ours, path in source.paths.items())
    return (*files, tuple((source.channels or {}).items()))


def _same_files(one: FieldSource, other: FieldSource) -> bool:
    return _files_of(one) == _files_of(other)
