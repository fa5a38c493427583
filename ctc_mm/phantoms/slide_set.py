"""A day's synthetic bright-field slides with the table that a lab would write: blanks, spike-ins, patients.

The images are computed; no claim about real CTCs follows from them.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.cli import progress
from ctc_mm.formats.files import atomic_write_text
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig
from ctc_mm.phantoms.brightfield_slide import write_brightfield_slide

SLIDES_FILE, TRUTH_FILE = "slides.csv", "truth.csv"
TRUTH_COLUMNS = ("name", "ctcs", "wbcs")


@dataclass(frozen=True)
class PhantomSlide:
    """A slide to draw.

    Attributes:
        name: of its file.
        ctcs: CTCs on it.
        wbcs: white blood cells on it.
        patient: whose blood it stands for; "" for controls.
        role: ``patient``, ``blank`` or ``spike_in``.
        spiked: cells added to the blood of a spike-in; some may have been lost on the way to the slide.
        volume_ml: blood that it stands for.
    """

    name: str
    ctcs: int
    wbcs: int
    patient: str = ""
    role: str = "patient"
    spiked: int | None = None
    volume_ml: float = 1.0


def write_slide_set(
    out_dir: str | Path,
    slides: Sequence[PhantomSlide],
    size_wh: tuple[int, int],
    config: BrightfieldPhantomConfig | None = None,
    seed: int = 0,
    *,
    debris: int = 0,
    show_progress: bool = False,
) -> Path:
    """Write each slide, ``slides.csv`` for ``tools/count.py``, and ``truth.csv``; the same arguments, the same bytes.

    Each slide has a random stream of its own, made of seed and name.

    Args:
        out_dir: made if missing.
        slides: what to draw, names different.
        size_wh: width and height of each slide in pixels.
        config: how they look.
        seed: at least 0.
        debris: specks and platelets on each slide.
        show_progress: draw a progress bar on stderr.

    Returns:
        Path of ``slides.csv``.

    Raises:
        ValueError: two slides of one name, or cells that find no room.
    """
    out_dir = Path(out_dir)
    names = [slide.name for slide in slides]
    if len(set(names)) < len(names):
        raise ValueError(f"slides must have different names. Received: {names}")
    for slide in progress(slides, "Drawing slides", total=len(slides)) if show_progress else slides:
        own_seed = zlib.crc32(f"{seed}/{slide.name}".encode())
        write_brightfield_slide(
            out_dir / _file_of(slide),
            size_wh,
            ctcs=slide.ctcs,
            wbcs=slide.wbcs,
            debris=debris,
            config=config,
            seed=own_seed,
        )
    rows = [
        {
            "slide": _file_of(slide),
            "name": slide.name,
            "patient": slide.patient,
            "role": slide.role,
            "volume_ml": f"{slide.volume_ml:g}",
            "spiked": "" if slide.spiked is None else slide.spiked,
        }
        for slide in slides
    ]
    truth = [dict(zip(TRUTH_COLUMNS, (slide.name, slide.ctcs, slide.wbcs), strict=True)) for slide in slides]
    atomic_write_text(out_dir / TRUTH_FILE, _as_csv(truth, TRUTH_COLUMNS))
    columns = ("slide", "name", "patient", "role", "volume_ml", "spiked")
    atomic_write_text(out_dir / SLIDES_FILE, _as_csv(rows, columns))
    return out_dir / SLIDES_FILE


def _file_of(slide: PhantomSlide) -> str:
    return f"{slide.name}.ome.tif"


def _as_csv(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
