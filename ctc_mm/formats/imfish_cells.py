"""From imFISH fields to a set of single cells, labelled by the rule (paper imfish-cnn-2022; readings 15, 17 and 19)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import group_by
from ctc_mm.formats.cell_set import UNLABELLED, CellRow, CellSetWriter
from ctc_mm.formats.cell_table import ExtraValue
from ctc_mm.formats.coco import write_coco
from ctc_mm.formats.imfish_tables import (
    FIELDS_FOLDER,
    ImFISHReport,
    JudgedField,
    cell_id,
    class_of,
    labelled_set,
    results_path,
    write_patients,
    write_results,
)
from ctc_mm.formats.paths import require_folder
from ctc_mm.formats.report import Progress, gather, no_progress
from ctc_mm.imaging.channels import ChannelMap
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.field_list import FieldSource, list_fields
from ctc_mm.imfish.patients import PAPER_BLOOD_ML
from ctc_mm.imfish.records import NucleusRecord
from ctc_mm.imfish.result_cache import ResultCache
from ctc_mm.imfish.settings import ImFISHSettings

CROPS = ("cep8", "all")
DAMAGED = "field that cannot be read (--skip-damaged)"
REMARK = "remark on how a field is read"
# Rows of a field that are read at once to cut crops from.
BAND_ROWS = 1024


@dataclass(frozen=True)
class ImFISHCellOptions:
    """How fields are read, judged and cut.

    Attributes:
        channels: place, name or file name pattern of ``dapi``, ``cep8`` and, in ``full`` mode, ``cd45``.
        settings: choices of the rule.
        crop: ``cep8``: what the paper's network sees (reading 17); ``all``: all channels in one image.
        um_per_px: size of a pixel; None: from the files, or from the nuclei.
        group_pattern: regular expression whose first pair of brackets finds the patient in a field's path.
        blood_ml: volume of each patient's sample.
        cache_dir: where results of the rule are kept by content.
        skip_damaged: leave out fields that cannot be read, counted; otherwise they are errors.
        overwrite: replace an older, different set in the folder.

    Raises:
        ValueError: a channel that is missing for the mode or unknown, another ``crop``.
    """

    channels: ChannelMap
    settings: ImFISHSettings = field(default_factory=ImFISHSettings)
    crop: str = "cep8"
    um_per_px: float | None = None
    group_pattern: str | None = None
    blood_ml: float = PAPER_BLOOD_ML
    cache_dir: Path | None = None
    skip_damaged: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        needed = {"dapi", "cep8"} | ({"cd45"} if self.settings.mode == "full" else set())
        missing, unknown = sorted(needed - set(self.channels)), sorted(set(self.channels) - {"dapi", "cep8", "cd45"})
        if missing or unknown:
            cure = "; without CD45 only mode 'paper' (signals alone) is possible" if missing == ["cd45"] else ""
            raise ValueError(
                "`channels` must name dapi, cep8 and cd45, such as dapi=0,cep8=1,cd45=2. "
                f"Received: {dict(self.channels)}{cure}"
            )
        if self.crop not in CROPS:
            raise ValueError(f"`crop` must be one of {', '.join(CROPS)}. Received: {self.crop!r}")

    @property
    def crop_channels(self) -> tuple[str, ...]:
        """Channels of a crop, in their order."""
        wanted = ("dapi", "cep8", "cd45") if self.crop == "all" else ("cep8",)
        return tuple(name for name in wanted if name in self.channels)


def parse_settings(text: str) -> dict[str, float]:
    """Read further settings of the rule, as in ``min_signals=3,max_edge_um=0.8``.

    Raises:
        ValueError: no number, no setting, one given twice, or one that has an option of its own.
    """
    known = {one.name for one in fields(ImFISHSettings)} - {"mode", "method", "cd45_threshold", "cep8_threshold"}
    values: dict[str, float] = {}
    for pair in text.split(","):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in known or name in values:
            raise ValueError(f"settings are pairs of {', '.join(sorted(known))}, each once. Received: {pair!r}")
        values[name] = int(value) if name == "min_signals" else float(value)
    return values


def convert_fields(
    in_dir: str | Path,
    out_dir: str | Path,
    options: ImFISHCellOptions,
    coco: str | Path | None = None,
    progress: Progress = no_progress,
) -> ImFISHReport:
    """Judge the nuclei of all fields of a folder and write each as a single cell, with ``cells.csv``.

    Every nucleus is written. Those that the rule cannot judge are ``unlabelled`` with ``keep`` false; the column
    ``reason`` says why. ``out_dir/fields/<name>.json`` holds the thresholds and all nuclei of a field, ``patients.csv``
    the CTCs per patient where ``group_pattern`` names patients.

    Args:
        in_dir: folder of the fields.
        out_dir: folder to write to, outside of ``in_dir``.
        options: how.
        coco: file for the same boxes as COCO JSON, nuclei that cannot be judged as ignore regions; images are named
            relative to ``in_dir``, by the first channel's file where each channel has its own.
        progress: wraps the fields, or the tiles of a single one.

    Raises:
        AnnotationError: a folder that cannot be used, two fields of one name, several fields that cannot be read.
        ImageReadError: one field that cannot be read; the message names file, channel and shape.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    require_folder(in_dir)
    if out_dir.resolve().is_relative_to(in_dir.resolve()):
        raise AnnotationError(f"{out_dir}: lies in {in_dir}, where a second run would read it; choose another folder")
    report = ImFISHReport()
    sources = list_fields(in_dir, options.channels, report=report)
    stale = _files_of_other_fields(out_dir, sources, options.overwrite)
    cache = ResultCache(options.cache_dir)
    over_fields, over_tiles = (no_progress, progress) if len(sources) == 1 else (progress, no_progress)
    with CellSetWriter(out_dir, overwrite=options.overwrite) as writer:

        def convert(source: FieldSource) -> JudgedField | None:
            try:
                with source.open(options.um_per_px) as field:
                    for note in field.notes:
                        report.note(REMARK, note)
                    result = cache.classify_open(field, options.settings, options.um_per_px, progress=over_tiles)
                    judged = JudgedField(source, _group_of(source, options), result)
                    _write_cells(judged, field, options, writer)
            except ImageReadError as error:
                if not options.skip_damaged:
                    raise
                report.skip(DAMAGED, f"{source.name}: {error}")
                return None
            return judged

        judged_fields = [one for one in gather(sources, convert, over_fields, "fields") if one is not None]
        if not judged_fields:
            raise AnnotationError(f"{in_dir}: no field could be read:\n{report}")
    report.count_nuclei(judged_fields, writer.rows)
    if options.group_pattern is not None:
        report.count_patients(judged_fields, options.blood_ml)
    for path in stale:
        path.unlink()
    _write_tables(out_dir, judged_fields, report, options, coco)
    return report


def _write_tables(
    out_dir: Path,
    judged_fields: Sequence[JudgedField],
    report: ImFISHReport,
    options: ImFISHCellOptions,
    coco: str | Path | None,
) -> None:
    """What stands beside the cells: results of each field, CTCs per patient, boxes."""
    for one in judged_fields:
        write_results(out_dir, one, options.crop_channels)
    write_patients(out_dir, report.patients, options.overwrite)
    if coco is not None:
        info = {"imfish": options.settings.to_dict(), "channels": dict(options.channels)}
        write_coco(coco, labelled_set(judged_fields, info))


def _files_of_other_fields(out_dir: Path, sources: Sequence[FieldSource], overwrite: bool) -> list[Path]:
    """Results of fields of an older run in the folder, which this run does not write anew."""
    ours = {results_path(out_dir, source) for source in sources}
    stale = sorted(path for path in (out_dir / FIELDS_FOLDER).rglob("*.json") if path not in ours)
    if stale and not overwrite:
        raise AnnotationError(
            f"{stale[0]}: result of a field that is not in this set; choose another folder, or replace the set "
            "(--overwrite)"
        )
    return stale


def _group_of(source: FieldSource, options: ImFISHCellOptions) -> str:
    if options.group_pattern is None:
        return source.name
    return group_by(options.group_pattern, source.relative_path)


def _write_cells(judged: JudgedField, field: Field, options: ImFISHCellOptions, writer: CellSetWriter) -> None:
    records = judged.result.records
    for index, crop in _cut_crops(field, records, options.crop_channels):
        record = records[index]
        row = CellRow(
            cell_id=cell_id(judged.source, index + 1),
            channel="+".join(options.crop_channels),
            label=UNLABELLED if record.is_rejected else class_of(record),
            group=judged.group,
            source=judged.source.relative_path,
            box_xyxy=record.box_xyxy,
            um_per_px=judged.result.um_per_px,
            keep=not record.is_rejected,
            extra=_measured(record),
        )
        writer.add(row, crop)


def _cut_crops(
    field: Field, records: Sequence[NucleusRecord], channels: Sequence[str]
) -> Iterator[tuple[int, np.ndarray]]:
    """Place of each record and its box, (h, w) or (h, w, C), in the field's pixel type; read in bands of rows."""
    bands: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        bands.setdefault(int(record.box_xyxy[1]) // BAND_ROWS, []).append(index)
    for band in sorted(bands):
        boxes = np.array([records[index].box_xyxy for index in bands[band]]).astype(int)
        x, y = boxes[:, :2].min(axis=0).tolist()
        right, bottom = boxes[:, 2:].max(axis=0).tolist()
        planes = field.read(channels, (x, y, right, bottom))
        for index, (x0, y0, x1, y1) in zip(bands[band], boxes.tolist(), strict=True):
            crop = planes[:, y0 - y : y1 - y, x0 - x : x1 - x]
            yield index, np.ascontiguousarray(crop[0] if len(channels) == 1 else np.moveaxis(crop, 0, -1))


def _measured(record: NucleusRecord) -> dict[str, ExtraValue]:
    """Columns beside the fixed ones; what is not known is left empty."""
    names = (
        "reason", "cep8_count", "faint_spots", "cd45", "cd45_background", "dapi", "area_px", "area_um2", "solidity",
        "edge_px", "touching",
    )  # fmt: skip
    values = {name: getattr(record, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
