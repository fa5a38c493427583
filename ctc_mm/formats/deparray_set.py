"""From a DEPArray export to a set of single cells (reading 20: the channels of a cell are twins under one name)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats import deparray
from ctc_mm.formats.cell_set import COLUMNS, UNLABELLED, CellRow, CellSetWriter, count_cells
from ctc_mm.formats.deparray import ExportCell, compile_pattern, default_channels, find_cells, match_entries, same_name
from ctc_mm.formats.deparray_table import CellEntries, CellEntry, read_cell_entries
from ctc_mm.formats.labels import LabelRules
from ctc_mm.formats.paths import IMAGE_SUFFIXES, all_files_under, require_folder
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.imaging.io import read_image
from ctc_mm.structures import IGNORE_LABEL

UNREADABLE = "image that cannot be read"
SIZES_DIFFER = "cell whose channels differ in size"
TWO_PATIENTS = "sample with cells of several patients"
UNKNOWN_LABEL = "cell with an unknown label"
IGNORED = f"cell whose label is mapped to {IGNORE_LABEL}"
NOT_CHOSEN = "cell that the operator did not choose (keep is false)"
NO_IMAGE_FILE = "file that is no PNG, JPEG, TIFF or BMP image"
UNUSED_COLUMN = "column of the table that is not carried over (name it with --extra)"
# What `strict` refuses. The other reasons follow from what the user asked for.
PROBLEMS = (
    deparray.NO_MATCH, deparray.OTHER_CHANNEL, deparray.SAME_IMAGE, deparray.TWO_LABELS, deparray.NO_IMAGE,
    deparray.SAME_ROW, deparray.CONTRADICTION, deparray.NO_ROW, deparray.LACKS_CHANNEL, UNREADABLE, SIZES_DIFFER,
    TWO_PATIENTS,
)  # fmt: skip

_SAMPLE_COLUMN = "sample"


@dataclass(frozen=True)
class DEPArrayOptions:
    """How an export is to be read.

    Attributes:
        pattern: regular expression for the images' paths; see :func:`compile_pattern`.
        channels: the export's channel name (normalised) -> ours; these channels are taken and every cell should have
            them. None: the names that are known, and the channels that occur.
        columns: field -> column of the table; see :func:`parse_columns`.
        extra: further columns of the table to carry over.
        sheet: sheet of a workbook.
        rules: how labels become classes.
        um_per_px: micrometres per pixel.
        strict: refuse what would else be left out or kept with a remark.
        overwrite: replace an older, different set in the folder.

    Raises:
        ValueError: a pattern that cannot be used, an extra column with the name of a column of ``cells.csv``.
    """

    pattern: str = deparray.DEFAULT_PATTERN
    channels: Mapping[str, str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    sheet: str | None = None
    rules: LabelRules = field(default_factory=LabelRules)
    um_per_px: float | None = None
    strict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        compile_pattern(self.pattern)
        taken = [name for name in self.extra if name in (*COLUMNS, _SAMPLE_COLUMN)]
        if taken:
            raise ValueError(f"`extra` names {taken[0]!r}, a column of cells.csv itself; rename it in the table")


@dataclass(frozen=True)
class _Labelled:
    """A cell that goes into the set."""

    cell: ExportCell
    entry: CellEntry | None
    label: str
    group: str


def convert_export(
    in_dir: str | Path,
    out_dir: str | Path,
    table: str | Path | None = None,
    options: DEPArrayOptions | None = None,
    progress: Progress = no_progress,
) -> ConversionReport:
    """Write the cells of an export as folders by class with ``cells.csv``.

    Pixels are written as they are (bit depth, colour). ``group`` is the patient of the table, else of the path, else
    the sample; ``box_xyxy`` is the whole crop unless the table gives coordinates; ``keep`` is the operator's choice.

    Args:
        in_dir: folder of the export.
        out_dir: folder to write to, outside of ``in_dir``.
        table: table of the cells; None: labels come from the path, where the pattern names one.
        options: how to read.
        progress: wraps the cells.

    Raises:
        AnnotationError: nothing to read, a table or label that cannot be understood, a table of which no row fits an
            image, and with ``strict`` any of :data:`PROBLEMS`; nothing is written then.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    options = DEPArrayOptions() if options is None else options
    require_folder(in_dir)
    if out_dir.resolve().is_relative_to(in_dir.resolve()):
        raise AnnotationError(f"{out_dir}: lies in {in_dir}, where a second run would read it; choose another folder")
    report = ConversionReport()
    entries = None
    if table is not None:
        entries = read_cell_entries(table, options.columns, options.extra, options.sheet)
        _note_table(Path(table), entries, report)
    channels = default_channels() if options.channels is None else dict(options.channels)
    cells = find_cells(in_dir, compile_pattern(options.pattern), channels, report)
    _note_other_files(in_dir, table, report)
    labelled = _label(cells, entries, options.rules, report)
    _note_missing_channels(labelled, options, report)
    _refuse_problems(in_dir, options, report)
    with CellSetWriter(out_dir, overwrite=options.overwrite) as writer:
        for one in progress(labelled, "writing cells"):
            _write(in_dir, one, options, writer, report)
        _refuse_problems(in_dir, options, report)
        if not writer.rows:
            raise AnnotationError(f"{in_dir}: no cell is left to write:\n{report}")
    report.images = len(writer.rows)
    report.cells = count_cells(writer.rows)
    report.classes = tuple(report.cells)
    return report


def _label(
    cells: list[ExportCell], table: CellEntries | None, rules: LabelRules, report: ConversionReport
) -> list[_Labelled]:
    """Give each cell its row, class and group; those without a usable class are counted as left out."""
    rows = match_entries(cells, table, report) if table is not None else {}
    if table is not None and table.entries and not rows:
        _refuse_table(cells, table)
    patients = _patients(cells, rows, report)

    def label(cell: ExportCell) -> _Labelled | None:
        entry = rows.get(cell.key)
        if cell.key in rows and entry is None:
            return None  # its rows contradict each other, and were counted
        if table is not None and entry is None:
            report.note(deparray.NO_ROW, cell.cell_id)
        place = entry.place if entry is not None else next(iter(cell.images.values()))
        name = _class_of(cell, entry, rules, place, report)
        if name is None:
            return None
        if entry is not None and not entry.keep:
            report.note(NOT_CHOSEN, cell.cell_id)
        patient = (entry.patient if entry else "") or cell.patient or patients.get(_sample_key(cell), "")
        return _Labelled(cell, entry, name, patient or cell.sample)

    return [one for one in gather(cells, label, no_progress, "labelling") if one is not None]


def _refuse_table(cells: list[ExportCell], table: CellEntries) -> None:
    """A table of which no row fits belongs to another folder, or names are read in another way: no labels at all."""
    first = table.entries[0]
    row = "/".join(filter(None, (first.patient, first.sample, first.cell)))
    raise AnnotationError(
        f"{first.place}: neither this row ({row}) nor any other of {len(table.entries)} fits a cell of the images, "
        f"which are named such as {cells[0].cell_id!r}; check the folder of the export, --pattern and --columns"
    )


def _class_of(
    cell: ExportCell, entry: CellEntry | None, rules: LabelRules, place: str, report: ConversionReport
) -> str | None:
    """Class of a cell by its row and its path, ``unlabelled`` where neither tells; None for one to be left out."""
    names = []
    for written in filter(None, (entry.label if entry else "", cell.label)):
        if written == UNLABELLED:
            continue
        name = rules.class_of(written, place)
        if name is None or name == IGNORE_LABEL:
            report.skip(UNKNOWN_LABEL if name is None else IGNORED, f"{cell.cell_id} ({written}, {place})")
            return None
        names.append(name)
    if len(set(names)) > 1:
        report.skip(deparray.TWO_LABELS, f"{cell.cell_id} (table {names[0]}, path {names[1]}, {place})")
        return None
    return names[0] if names else UNLABELLED


def _sample_key(cell: ExportCell) -> tuple[str, str]:
    return same_name(cell.patient), same_name(cell.sample)


def _patients(
    cells: list[ExportCell], rows: Mapping[tuple[str, str, str], CellEntry | None], report: ConversionReport
) -> dict[tuple[str, str], str]:
    """Sample -> patient, so that a cell without row stays in the group of its neighbours."""
    found: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        entry = rows.get(cell.key)
        if entry is not None and entry.patient:
            found.setdefault(_sample_key(cell), set()).add(entry.patient)
    for (_, sample), names in found.items():
        if len(names) > 1:
            report.note(TWO_PATIENTS, f"{sample} ({', '.join(sorted(names))})")
    return {sample: min(names) for sample, names in found.items() if len(names) == 1}


def _write(
    in_dir: Path, one: _Labelled, options: DEPArrayOptions, writer: CellSetWriter, report: ConversionReport
) -> None:
    cell, entry = one.cell, one.entry
    sizes_wh = {}
    for channel, source in sorted(cell.images.items()):
        try:
            pixels = read_image(in_dir / source)
        except ImageReadError as error:
            report.skip(UNREADABLE, f"{source}: {str(error).removeprefix(f'{in_dir / source}: ')}")
            continue
        height, width = pixels.shape[:2]
        sizes_wh[channel] = (width, height)
        try:
            row = CellRow(
                cell_id=cell.cell_id,
                channel=channel,
                label=one.label,
                group=one.group,
                source=source,
                box_xyxy=entry.box_xyxy if entry is not None and entry.box_xyxy else (0, 0, width, height),
                um_per_px=options.um_per_px,
                keep=entry is None or entry.keep,
                extra={_SAMPLE_COLUMN: cell.sample, **(entry.extra if entry is not None else {})},
            )
            writer.add(row, pixels)
        except ValueError as error:
            places = [in_dir / source] if entry is None else [in_dir / source, entry.place]
            raise AnnotationError(f"{', '.join(map(str, places))}: {error}") from error
    if len(set(sizes_wh.values())) > 1:
        sizes = ", ".join(f"{channel} {width} x {height} px" for channel, (width, height) in sizes_wh.items())
        report.note(SIZES_DIFFER, f"{cell.cell_id} ({sizes})")


def _note_table(table: Path, entries: CellEntries, report: ConversionReport) -> None:
    for remark in entries.remarks:
        report.note(remark, table.name)
    for column in entries.unused_columns:
        report.note(UNUSED_COLUMN, column)


def _note_other_files(in_dir: Path, table: str | Path | None, report: ConversionReport) -> None:
    own = Path(table).resolve() if table is not None else None
    for path in all_files_under(in_dir):
        if path.suffix.lower() not in IMAGE_SUFFIXES and path.resolve() != own:
            report.skip(NO_IMAGE_FILE, path.relative_to(in_dir).as_posix())


def _note_missing_channels(labelled: list[_Labelled], options: DEPArrayOptions, report: ConversionReport) -> None:
    if options.channels is not None:
        wanted = set(options.channels.values())
    else:
        wanted = {channel for one in labelled for channel in one.cell.images}
    for one in labelled:
        missing = sorted(wanted - set(one.cell.images))
        if missing:
            report.note(deparray.LACKS_CHANNEL, f"{one.cell.cell_id} ({', '.join(missing)})")


def _refuse_problems(in_dir: Path, options: DEPArrayOptions, report: ConversionReport) -> None:
    problems = [reason for reason in (*report.skipped, *report.notes) if reason in PROBLEMS]
    if options.strict and problems:
        raise AnnotationError(f"{in_dir}: refused by --strict, nothing written: {'; '.join(problems)}\n{report}")
