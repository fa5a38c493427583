"""What a conversion of imFISH fields says beside the cells: counts by reason, CTCs per patient, verdicts, boxes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctc_mm.formats.cell_set import CellRow, count_cells
from ctc_mm.formats.files import atomic_write_text, write_json
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imfish.patients import PatientCount, count_patients, summarise_patients
from ctc_mm.imfish.records import CTC, FieldResult, NucleusRecord
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

CTC_NAME, OTHER_NAME = "CTC", "non-CTC"
FIELDS_FOLDER, PATIENTS_FILE = "fields", "patients.csv"
NO_NUCLEUS = "field without a nucleus"
NOT_JUDGED = "nucleus that cannot be judged"
NO_SCALE = "field whose pixel size is not known: taken from its nuclei (better: --um-per-px)"
ONE_KIND = (
    "field whose CD45 shows one kind of cell: threshold from the slide's own level (better: --cd45-threshold from a "
    "control slide)"
)


@dataclass(frozen=True)
class JudgedField:
    """A field, its patient or group, and its nuclei."""

    source: FieldSource
    group: str
    result: FieldResult


@dataclass
class ImFISHReport(ConversionReport):
    """Counts of a conversion of imFISH fields.

    Attributes:
        fields: fields judged.
        reasons: nuclei by the reason of their verdict.
        patients: CTCs of each patient; none where no patient is known.
    """

    fields: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    patients: list[PatientCount] = field(default_factory=list)

    def count_nuclei(self, fields: Sequence[JudgedField], rows: Sequence[CellRow]) -> None:
        """Take the counts of the fields, and of the images that were written."""
        self.fields, self.images = len(fields), len(rows)
        self.cells = count_cells(rows)
        self.classes = tuple(self.cells)
        reasons: Counter[str] = Counter()
        for one in fields:
            reasons.update(one.result.reason_counts)
            self._note_field(one)
            for number, record in enumerate(one.result.records, start=1):
                if record.is_rejected:
                    self.note(f"{NOT_JUDGED}: {record.reason}", cell_id(one.source, number))
        self.reasons = {name: reasons[name] for name in sorted(reasons, key=lambda name: (name != CTC, name))}

    def _note_field(self, one: JudgedField) -> None:
        """Remark what a field's counts rest on, where that is less than it could be."""
        if not one.result.records:
            self.note(NO_NUCLEUS, one.source.name)
            return
        if one.result.thresholds.um_per_px_source != "image":
            self.note(NO_SCALE, one.source.name)
        if one.result.thresholds.cd45_source == "background":
            self.note(ONE_KIND, one.source.name)

    def count_patients(self, fields: Sequence[JudgedField], blood_ml: float) -> None:
        """Add up the CTCs of each patient, who is the fields' group."""
        by_patient: dict[str, list[FieldResult]] = {}
        for one in fields:
            by_patient.setdefault(one.group, []).append(one.result)
        self.patients = count_patients(by_patient, blood_ml)

    def __str__(self) -> str:
        """Give the report as lines for a terminal."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.items())
        lines = [f"fields: {self.fields}", f"nuclei: {sum(self.reasons.values())} ({reasons})", super().__str__()]
        if self.patients:
            cohort = summarise_patients(self.patients)
            lines.append(
                f"CTCs per patient, mean (range): {cohort} in {cohort.blood_ml:g} mL of blood, {cohort.patients} "
                f"patients, {cohort.without_ctc} of them without a CTC"
            )
        else:
            lines.append("no patient is known: a --group-pattern gives CTCs per patient")
        return "\n".join(lines)


def cell_id(source: FieldSource, number: int) -> str:
    """Name of a nucleus: its field and its number there, from 1, by its first pixel."""
    return f"{source.name}/{number:05d}"


def class_of(record: NucleusRecord) -> str:
    """Class of a nucleus that was judged."""
    return CTC_NAME if record.is_ctc else OTHER_NAME


def results_path(out_dir: Path, source: FieldSource) -> Path:
    """Where the verdicts on a field are written."""
    return out_dir / FIELDS_FOLDER / f"{source.name}.json"


def write_results(out_dir: Path, one: JudgedField, crop_channels: Sequence[str]) -> None:
    """Write thresholds and nuclei of a field as JSON."""
    head: dict[str, Any] = {
        "source": one.source.relative_path,
        "group": one.group,
        "crop_channels": list(crop_channels),
    }
    write_json(results_path(out_dir, one.source), head | one.result.to_dict())


def write_patients(out_dir: Path, counts: Sequence[PatientCount], overwrite: bool) -> None:
    """Write the CTCs per patient as CSV; an older table is removed with ``overwrite`` where no patient is known."""
    path = out_dir / PATIENTS_FILE
    if not counts:
        if overwrite:
            path.unlink(missing_ok=True)
        return
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("patient", "ctcs", "blood_ml", "fields", "nuclei", "judged"))
    for count in counts:
        table.writerow((count.patient, count.ctcs, f"{count.blood_ml:g}", count.fields, count.nuclei, count.judged))
    atomic_write_text(path, buffer.getvalue())


def labelled_set(fields: Sequence[JudgedField], info: Mapping[str, Any]) -> LabelledSet:
    """Boxes of the nuclei for COCO; those that cannot be judged are ignore regions of every class."""
    images = [
        LabelledImage(
            file_name=one.source.relative_path,
            size_wh=one.result.size_wh,
            cells=tuple(
                CellBox(record.box_xyxy, None if record.is_rejected else class_of(record), (), record.is_rejected)
                for record in one.result.records
            ),
            group=one.group,
            um_per_px=one.result.um_per_px,
        )
        for one in fields
    ]
    return LabelledSet((CTC_NAME, OTHER_NAME), tuple(images), info)
