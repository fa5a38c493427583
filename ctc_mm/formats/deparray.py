"""DEPArray exports, read as a pattern and a table say (paper deparray-augmentation-2025, readings 20 and 21).

The vendor publishes no format. Laboratories hand over a folder a sample with one image per cell and channel, and a
table of the cells; names differ. So a regular expression with named groups finds sample, cell and channel in each
image's path, and columns of the table are found by name or told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.deparray_table import CellEntries, CellEntry
from ctc_mm.formats.labels import normalise_label
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.formats.report import ConversionReport

GROUPS = ("patient", "sample", "cell", "channel", "label")
# patient/sample/12_BF.png, sample/12_BF.png or 12_BF.png.
DEFAULT_PATTERN = (
    r"(?:(?:(?P<patient>[^/]+)/)?(?P<sample>[^/]+)/)?"
    r"(?P<cell>[^/]+?)[ _-]+(?P<channel>bright[ _-]?field|[^/ ._-]+)(?:\.ome)?\.(?:png|tiff?|jpe?g|bmp)"
)
# The project's name of a channel -> how exports write it, normalised as labels are.
CHANNEL_NAMES: Mapping[str, tuple[str, ...]] = {
    "brightfield": ("bf", "brightfield", "bright field", "transmitted", "tl"),
    "dapi": ("dapi", "hoechst"),
    "cd45": ("cd45",),
    "ck": ("ck", "cytokeratin", "cytokeratins", "panck"),
    "epcam": ("epcam",),
    "cep8": ("cep8",),
    "fitc": ("fitc",),
    "pe": ("pe",),
    "apc": ("apc",),
}

NO_MATCH = "image that the pattern does not match (tell names apart with --pattern)"
OTHER_CHANNEL = "image of a channel that is not taken (name it with --channels)"
SAME_IMAGE = "further image of one cell and channel (the first by path is taken)"
TWO_LABELS = "cell whose images lie under different labels"
NO_IMAGE = "row without image"
SAME_ROW = "further row of one cell, saying the same"
CONTRADICTION = "cell whose rows contradict each other"
NO_ROW = "cell without row in the table (unlabelled)"
LACKS_CHANNEL = "cell that lacks a channel"


@dataclass
class ExportCell:
    """One cell of an export.

    Attributes:
        patient: from the path; empty where the pattern names none.
        sample: from the path.
        cell: name or number of the cell, from the path.
        label: from the path, as written; empty where the pattern names none.
        images: channel -> POSIX path relative to the export's folder.
    """

    patient: str
    sample: str
    cell: str
    label: str
    images: dict[str, str] = field(default_factory=dict)

    @property
    def cell_id(self) -> str:
        """Name of the cell in the whole set."""
        return "/".join(filter(None, (self.patient, self.sample, self.cell)))

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells cells apart: 12, 0012 and 12.0 are one number, and case does not matter."""
        return same_name(self.patient), same_name(self.sample), same_cell(self.cell)


def compile_pattern(text: str) -> re.Pattern[str]:
    """Check and compile a pattern for whole relative paths (``/`` between folders, any case).

    Raises:
        ValueError: no regular expression, one without the groups ``cell`` and ``channel``, or with an unknown group.
    """
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error}). Received: {text!r}") from error
    unknown = sorted(set(pattern.groupindex) - set(GROUPS))
    missing = [name for name in ("cell", "channel") if name not in pattern.groupindex]
    if unknown or missing:
        raise ValueError(
            f"must have the named groups (?P<cell>...) and (?P<channel>...), and may have (?P<sample>...), "
            f"(?P<patient>...) and (?P<label>...). Received: {text!r}"
        )
    return pattern


def parse_channels(text: str) -> dict[str, str]:
    """Read ``brightfield=BF,dapi=DAPI`` into the export's name (normalised) -> ours; several names may mean one.

    Raises:
        ValueError: an entry that is not ``OURS=THEIRS``, or a name of the export that would mean two channels.
    """
    mapping: dict[str, str] = {}
    for entry in text.split(","):
        ours, separator, theirs = (part.strip() for part in entry.partition("="))
        if not (separator and ours and theirs):
            raise ValueError(f"takes OURS=THEIRS,... (such as brightfield=BF,dapi=DAPI). Received: {entry!r}")
        key = normalise_label(theirs)
        if mapping.get(key, ours) != ours:
            raise ValueError(f"takes {theirs!r} for both {mapping[key]!r} and {ours!r}; keep one of them")
        mapping[key] = ours
    return mapping


def default_channels() -> dict[str, str]:
    """The channel names that are understood without being told: the export's name (normalised) -> ours."""
    return {theirs: ours for ours, names in CHANNEL_NAMES.items() for theirs in names}


def find_cells(
    in_dir: Path, pattern: re.Pattern[str], channels: Mapping[str, str], report: ConversionReport
) -> list[ExportCell]:
    """Find the cells of an export, ordered by path; what is left out is counted in ``report``.

    Args:
        in_dir: folder of the export.
        pattern: from :func:`compile_pattern`.
        channels: the export's channel name (normalised) -> ours.
        report: takes images that match nothing, of other channels, and doubles.

    Raises:
        AnnotationError: no folder, or no image of a cell in it.
    """
    found: dict[tuple[str, str, str], list[tuple[str, str, ExportCell]]] = {}
    paths = [path.relative_to(in_dir).as_posix() for path in files_under(in_dir, IMAGE_SUFFIXES)]
    for path in paths:
        match = pattern.fullmatch(path)
        if match is None or not (match["cell"] and match["channel"]):
            report.skip(NO_MATCH, path)
            continue
        channel = channels.get(normalise_label(match["channel"]))
        if channel is None:
            report.skip(OTHER_CHANNEL, f"{path} ({match['channel']})")
            continue
        cell = _cell_of(match, in_dir)
        found.setdefault(cell.key, []).append((path, channel, cell))
    if not found:
        raise AnnotationError(
            f"{in_dir}: none of {len(paths)} images is taken as the image of a cell; give --pattern for names like "
            f"{paths[0] if paths else 'sample/12_BF.png'!r}, and --channels for their channels:\n{report}"
        )
    cells = (_merge(images, report) for images in found.values())
    return [cell for cell in cells if cell is not None]


def match_entries(
    cells: Iterable[ExportCell], table: CellEntries, report: ConversionReport
) -> dict[tuple[str, str, str], CellEntry | None]:
    """Find each cell's row: by cell, by sample where the table has it, by patient where table and path have it.

    Returns:
        Key of the cell -> its row; None where its rows contradict each other, so that no wrong label gets in. Cells
        without row are not there. Rows without image, doubled and contradicting rows are counted in ``report``.

    Raises:
        AnnotationError: a row that fits several cells, since the table does not say which sample it means.
    """
    by_cell: dict[str, list[ExportCell]] = {}
    for cell in cells:
        by_cell.setdefault(same_cell(cell.cell), []).append(cell)
    rows: dict[tuple[str, str, str], list[CellEntry]] = {}
    for entry in table.entries:
        fitting = [cell for cell in by_cell.get(same_cell(entry.cell), []) if _fits(cell, entry)]
        if len(fitting) > 1:
            raise AnnotationError(
                f"{entry.place}: cell {entry.cell!r} fits {len(fitting)} cells "
                f"({', '.join(cell.cell_id for cell in fitting[:3])}); name the sample in the table (and the patient, "
                "where two have a sample of this name), in a column 'sample' or one given by --columns sample=NAME"
            )
        if fitting:
            rows.setdefault(fitting[0].key, []).append(entry)
        else:
            report.skip(NO_IMAGE, f"{entry.place}: {'/'.join(filter(None, (entry.sample, entry.cell)))}")
    return {key: _one_row(entries, report) for key, entries in rows.items()}


def same_name(text: str) -> str:
    """The form in which samples and patients are compared: numbers as numbers, no case, no doubled spaces."""
    words = normalise_label(text)
    if not re.fullmatch(r"[0-9]+(\.0+)?", words):
        return words
    return words.split(".")[0].lstrip("0") or "0"


def same_cell(text: str) -> str:
    """The form in which cells are compared: like samples, and ``Cell 12`` or ``ID_12`` as 12."""
    words = re.sub(r"^(?:cell|id|cell ?id) ?[#:]? ?(?=[0-9]+(\.0+)?$)", "", normalise_label(text))
    return same_name(words)


def _cell_of(match: re.Match[str], in_dir: Path) -> ExportCell:
    groups = {name: (text or "").strip() for name, text in match.groupdict().items()}
    # Images without a folder of their own are one sample, named after the export.
    sample = groups.get("sample") or in_dir.resolve().name
    return ExportCell(groups.get("patient", ""), sample, groups["cell"], groups.get("label", ""))


def _merge(images: list[tuple[str, str, ExportCell]], report: ConversionReport) -> ExportCell | None:
    """One cell of its images (path, channel, cell as that path tells it); None where they are of two classes."""
    merged = images[0][2]
    if len({normalise_label(cell.label) for _, _, cell in images}) > 1:
        report.skip(TWO_LABELS, "; ".join(path for path, _, _ in images))
        return None
    for path, channel, _ in images:
        if channel in merged.images:
            report.skip(SAME_IMAGE, f"{path} (taken: {merged.images[channel]})")
        else:
            merged.images[channel] = path
    return merged


def _fits(cell: ExportCell, entry: CellEntry) -> bool:
    if entry.sample and same_name(entry.sample) != same_name(cell.sample):
        return False
    return not (entry.patient and cell.patient) or same_name(entry.patient) == same_name(cell.patient)


def _one_row(entries: list[CellEntry], report: ConversionReport) -> CellEntry | None:
    if len({entry.content for entry in entries}) > 1:
        report.skip(CONTRADICTION, "; ".join(f"{entry.place} ({entry.label or 'no label'})" for entry in entries))
        return None
    for entry in entries[1:]:
        report.skip(SAME_ROW, entry.place)
    return entries[0]
