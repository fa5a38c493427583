"""The count's part of the demo: synthetic slides with a known number of cells, counted by the trained detector."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ctc_mm.counting.count_card import read_card
from ctc_mm.demo import commands
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import SlideError
from ctc_mm.phantoms import BrightfieldPhantomConfig, PhantomSlide, write_slide_set

# As many white blood cells to the area as on the fields of the training; a blank has them too.
_WBCS = 60
SLIDES = (
    PhantomSlide("blank_1", 0, _WBCS, role="blank"),
    PhantomSlide("blank_2", 0, _WBCS, role="blank"),
    PhantomSlide("spiked_15", 15, _WBCS, role="spike_in", spiked=15),
    PhantomSlide("spiked_30", 30, _WBCS, role="spike_in", spiked=30),
    PhantomSlide("P1", 12, _WBCS, patient="P1"),
)
DEBRIS = 60


def draw_slides(out_dir: Path, *, side_px: int, um_per_px: float, seed: int) -> None:
    """Draw ``out_dir/slides`` with its table; the same optics as the fields that the detector was trained on."""
    config = BrightfieldPhantomConfig(um_per_px=um_per_px)
    write_slide_set(out_dir / "slides", SLIDES, (side_px, side_px), config, seed, debris=DEBRIS, show_progress=True)


def count_slides(out_dir: Path, config: str) -> list[dict[str, Any]]:
    """Count them into ``out_dir/counts`` as a lab would, and return the count cards beside the truth.

    Returns:
        One dict a slide: ``name``, ``truth`` (CTCs on it), ``card``.
    """
    checkpoint = best_checkpoint(out_dir / "model")
    table, counts = out_dir / "slides" / "slides.csv", out_dir / "counts"
    commands.run("tools/count.py", table, "--route", "detect", "--config", config, "--checkpoint", checkpoint,
                 "--performance", out_dir / "test" / "metrics.json", "--out", counts)  # fmt: skip
    with (out_dir / "slides" / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["name"]: int(row["ctcs"]) for row in csv.DictReader(file)}
    return [
        {"name": name, "truth": number, "card": read_card(counts / name / "count.json")}
        for name, number in truth.items()
    ]


def check_counts(slides: list[dict[str, Any]]) -> str:
    """Say that the truth of the patient and of each spiked slide lies inside its interval.

    Blanks are left out: at 95 % a cell or two on one of them are no surprise, and they show what a blank costs.

    Raises:
        SlideError: it does not, on the slides named.
    """
    known = [slide for slide in slides if slide["truth"] > 0]
    outside = [slide for slide in known if not is_inside(slide)]
    if outside:
        told = "; ".join(
            "{}: {} on it, {} counted ({:.1f}-{:.1f})".format(
                one["name"], one["truth"], one["card"]["ctc"]["count"], *one["card"]["ctc"]["interval"]
            )
            for one in outside
        )
        raise SlideError(f"the true count lies outside its interval: {told}")
    return f"the true count lies inside its interval on all {len(known)} slides with CTCs"


def is_inside(slide: dict[str, Any]) -> bool:
    """Whether the number of CTCs on a slide lies in the interval that was reported."""
    low, high = slide["card"]["ctc"]["interval"]
    return low <= slide["truth"] <= high


def summarise_counts(out_dir: Path, slides: list[dict[str, Any]]) -> None:
    """Print each count beside the truth, and where the reports lie."""
    table = Table(title="CTCs on synthetic slides (exact Poisson intervals at 95 %)")
    for column in ("slide", "on it", "counted", "interval", "unidentified", "truth inside"):
        table.add_column(column, justify="left" if column == "slide" else "right")
    for slide in slides:
        ctc = slide["card"]["ctc"]
        low, high = ctc["interval"]
        cells = (str(slide["truth"]), str(ctc["count"]), f"{low:.1f}-{high:.1f}", str(slide["card"]["unidentified"]))
        table.add_row(slide["name"], *cells, "yes" if is_inside(slide) else "no")
    Console().print(table)
    counts = out_dir / "counts"
    commands.print_paths(
        {
            "report of a slide": counts / "P1" / "report.html",
            "its count card": counts / "P1" / "count.json",
            "all slides and patients": counts / "index.html",
        }
    )


def counts_beside_truth(slides: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts beside the truth, as JSON values."""
    return {
        slide["name"]: {
            "truth": slide["truth"],
            "count": slide["card"]["ctc"]["count"],
            "interval": slide["card"]["ctc"]["interval"],
            "inside": is_inside(slide),
        }
        for slide in slides
    }
