"""The files of a count: of each slide, and over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from ctc_mm.counting.count_card import make_card, read_card, write_card
from ctc_mm.counting.exchange.coco import write_cells_coco
from ctc_mm.counting.exchange.geojson import write_geojson
from ctc_mm.counting.exchange.table import write_detections
from ctc_mm.counting.patients import make_summary
from ctc_mm.counting.performance import Performance
from ctc_mm.counting.records import SlideCount, SlideSpec, as_json
from ctc_mm.counting.report.cam import explain_count
from ctc_mm.counting.report.index import write_index
from ctc_mm.counting.report.write import write_report
from ctc_mm.counting.route import JsonDict, RouteSpec
from ctc_mm.counting.slides import open_slide
from ctc_mm.counting.spike_in import Recovery
from ctc_mm.counting.state import key_of
from ctc_mm.counting.summary_files import write_summary_files
from ctc_mm.errors import CTCError, SlideError
from ctc_mm.formats.files import atomic_write_bytes, remove_unfinished

CARD, OVERVIEW, GEOJSON, COCO, REPORT = "count.json", "overview.png", "cells.geojson", "cells.coco.json", "report.html"
INDEX = "index.html"
TABLES = {"csv": "detections.csv", "parquet": "detections.parquet"}
SLIDE_FILES = (CARD, OVERVIEW, GEOJSON, COCO, REPORT, *TABLES.values())


@dataclass(frozen=True)
class OutputOptions:
    """What is written of a count, and how.

    Attributes:
        table: ``csv`` or ``parquet``, of the detections.
        report: whether ``report.html`` is written.
        gallery: most cells in the report's gallery.
        cam: whether the report shows what the model looked at (Grad-CAM).
        recovery: share of added cells that the lab's method finds, or ``measured`` by the spike-ins of the run;
            concentrations are corrected by it.
        performance: of the model on cells of known truth; the count is corrected by it.

    Raises:
        ValueError: another kind of table, a gallery below 0.
    """

    table: str = "csv"
    report: bool = True
    gallery: int = 2000
    cam: bool = True
    recovery: Recovery | Literal["measured"] | None = None
    performance: Performance | None = None

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise ValueError(f"`table` must be csv or parquet. Received: {self.table!r}")
        if self.gallery < 0:
            raise ValueError(f"`gallery` must be 0 or more. Received: {self.gallery}")


def explains(options: OutputOptions, route: str) -> bool:
    """Whether writing a slide runs the model again, for Grad-CAM."""
    return options.report and options.cam and options.gallery > 0 and route != "imfish"


def outputs_key(spec: SlideSpec, options: OutputOptions) -> str:
    """Short hash of all that the files of a slide depend on beside its cells."""
    described = {name: value for name, value in as_json(spec).items() if name != "source"}
    return key_of([described, {name: repr(value) for name, value in as_json(options).items()}])


def write_slide(folder: Path, count: SlideCount, options: OutputOptions, route: RouteSpec) -> list[Path]:
    """Write everything of a slide; each file whole or not at all, the count card last: where it is, all are.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written; it is named.
    """
    remove_unfinished(folder, SLIDE_FILES)
    (folder / CARD).unlink(missing_ok=True)
    files = [
        write_detections(folder / TABLES[options.table], count),
        write_geojson(folder / GEOJSON, count),
        write_cells_coco(folder / COCO, count),
    ]
    if count.overview is not None:
        files.append(_write_overview(folder / OVERVIEW, count))
    known = options.recovery if isinstance(options.recovery, Recovery) else None
    card = make_card(count, recovery=known, performance=options.performance)
    if options.report:
        files.append(_write_report(folder / REPORT, count, card, options, route))
    for name in {*TABLES.values(), OVERVIEW, REPORT} - {file.name for file in files}:  # of other options, earlier
        (folder / name).unlink(missing_ok=True)
    return [*files, write_card(folder / CARD, card)]


def has_card(folder: Path) -> bool:
    """Whether a folder holds a count card that can be read."""
    try:
        read_card(folder / CARD)
    except CTCError:
        return False
    return True


def remove_slide(folder: Path) -> None:
    """Remove what ``write_slide`` wrote, also where it was stopped amid it."""
    for name in SLIDE_FILES:
        (folder / name).unlink(missing_ok=True)
    remove_unfinished(folder, SLIDE_FILES)


def write_summary(
    out_dir: Path, folders: Sequence[Path], failed: Sequence[JsonDict], options: OutputOptions
) -> tuple[list[Path], JsonDict]:
    """Write tables and pages over all slides and patients.

    Args:
        out_dir: of the run.
        folders: of the slides that were counted.
        failed: ``name``, ``patient``, ``role`` and ``error`` of those that were not.
        options: the recovery in them is applied to patients.

    Returns:
        The files, and the summary that they hold.

    Raises:
        SlideError: cards that cannot be added up.
        OSError: a file cannot be written; it is named.
    """
    cards = [read_card(folder / CARD) for folder in folders]
    summary = make_summary(cards, recovery=options.recovery, failed=failed)
    files = [*write_summary_files(out_dir, summary), write_index(out_dir / INDEX, summary)]
    return files, summary


def _write_report(path: Path, count: SlideCount, card: JsonDict, options: OutputOptions, route: RouteSpec) -> Path:
    cams, cam_note = explain_count(count, route) if options.cam and options.gallery else ({}, "")
    with open_slide(count.spec) as field:
        return write_report(
            path, count, card, field=field, cams=cams, cam_note=cam_note, performance=options.performance,
            gallery=options.gallery,
        )  # fmt: skip


def _write_overview(path: Path, count: SlideCount) -> Path:
    done, encoded = cv2.imencode(".png", cv2.cvtColor(count.overview.rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise SlideError(f"{path}: an overview of shape {count.overview.rgb.shape} cannot be written as PNG")
    atomic_write_bytes(path, encoded.tobytes())
    return path
