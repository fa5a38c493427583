"""A synthetic DEPArray export on disk, as a laboratory would hand it over, with its truth beside it.

The images are synthetic; no claim about real CTCs follows from them.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from ctc_mm.formats.files import atomic_write_text, write_json
from ctc_mm.imaging.io import write_png
from ctc_mm.phantoms.brightfield_config import CLASS_NAMES
from ctc_mm.phantoms.deparray import DEPArrayCell, DEPArrayPatient, generate_patients
from ctc_mm.phantoms.deparray_config import DEPArrayPhantomConfig

EXPORT_FOLDER = "export"
TABLE_FILE = "cells_table.csv"
TRUTH_FILE = "truth.json"
ABOUT_FILE = "about.txt"
# What operators call the classes.
WRITTEN_CLASSES = {"CTC": "CTC", "WBC": "Leukocyte"}


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes:
        export_dir: folder a sample, one image a cell and channel.
        table: the table of the cells.
        patients: number of patients.
        cells: number of cells of each class.
        rejected: cells that the operator did not choose.
    """

    export_dir: Path
    table: Path
    patients: int
    cells: dict[str, int]
    rejected: int


def write_deparray_export(
    out_dir: str | Path, config: DEPArrayPhantomConfig | None = None, seed: int = 0
) -> ExportSummary:
    """Write ``out_dir/export/<sample>/0001_BF.png`` and ``0001_DAPI.png``, and ``out_dir/cells_table.csv``.

    Beside them lie ``truth.json`` (diameters, focus, effects of each patient) and ``about.txt``. The same arguments
    give the same bytes.

    Args:
        out_dir: made if missing; its export folder may hold no files of another set.
        config: how the images look.
        seed: at least 0.

    Raises:
        ValueError: a seed below 0, or an export folder with other files.
    """
    out_dir = Path(out_dir)
    config = DEPArrayPhantomConfig() if config is None else config
    patients = list(generate_patients(config, seed))
    cells = [cell for patient in patients for cell in patient.cells]
    images = {_file(cell, channel): pixels for cell in cells for channel, pixels in _channels(cell).items()}
    export_dir = out_dir / EXPORT_FOLDER
    others = sorted(path.relative_to(export_dir).as_posix() for path in export_dir.rglob("*") if path.is_file())
    others = [name for name in others if name not in images]
    if others:
        raise ValueError(
            f"{export_dir}: holds {len(others)} files that are not of this set ({others[0]}, ...); remove the folder "
            "or choose another"
        )
    export_dir.mkdir(parents=True, exist_ok=True)
    for name, pixels in images.items():
        write_png(export_dir / name, pixels)
    atomic_write_text(out_dir / TABLE_FILE, _table(cells))
    write_json(out_dir / TRUTH_FILE, [_truth(patient) for patient in patients])
    atomic_write_text(
        out_dir / ABOUT_FILE,
        "Synthetic DEPArray crops, computed by ctc_mm.phantoms. No claim about real CTCs follows from them.\n"
        f"seed: {seed}\num_per_px: {config.um_per_px}\nconfig: {config!r}\n",
    )
    counts = Counter(cell.class_name for cell in cells)
    return ExportSummary(
        export_dir,
        out_dir / TABLE_FILE,
        len(patients),
        {name: counts[name] for name in CLASS_NAMES},
        sum(not cell.keep for cell in cells),
    )


def _channels(cell: DEPArrayCell) -> dict:
    return {"BF": cell.brightfield, "DAPI": cell.dapi}


def _file(cell: DEPArrayCell, channel: str) -> str:
    return f"{cell.sample}/{cell.number:04d}_{channel}.png"


def _table(cells: list[DEPArrayCell]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["Patient", "Sample", "Cell ID", "Class", "Keep"])
    for cell in cells:
        keep = "yes" if cell.keep else "no"
        writer.writerow([cell.patient, cell.sample, cell.number, WRITTEN_CLASSES[cell.class_name], keep])
    return buffer.getvalue()


def _truth(patient: DEPArrayPatient) -> dict:
    return {
        "patient": patient.name,
        "effects": asdict(patient.effects),
        "cells": [
            {
                "sample": cell.sample,
                "number": cell.number,
                "class": cell.class_name,
                "diameter_um": cell.diameter_um,
                "nucleus_um": cell.nucleus_um,
                "defocus_um": cell.defocus_um,
                "cell_area_px": int(cell.cell_mask.sum()),
                "nucleus_area_px": int(cell.nucleus_mask.sum()),
                "keep": cell.keep,
            }
            for cell in patient.cells
        ],
    }
