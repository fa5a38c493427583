"""A lab's day on synthetic slides: draw blanks, spike-ins and patients, and compare what was counted with the truth.

example: python benchmarks/lab_day.py draw --out day
         python tools/count.py day/slides.csv --route detect --config CONFIG --checkpoint WEIGHTS --out day_counts
         python benchmarks/lab_day.py compare day day_counts
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import markdown_table

from ctc_mm.cli import run_cli
from ctc_mm.counting.count_card import read_card
from ctc_mm.counting.outputs import CARD
from ctc_mm.phantoms import BrightfieldPhantomConfig, PhantomSlide, write_slide_set

SIDE_PX, UM_PER_PX, WBCS, DEBRIS = 1120, 0.4, 60, 60
BLANKS = 5
SPIKED = (5, 10, 20, 40, 80)
# Share of the added cells that reaches the slide; the rest is lost in staining and washing.
ARRIVING = 0.85
# CTCs on the two slides of each patient.
PATIENTS = {"P1": (3, 5), "P2": (0, 0), "P3": (24, 31)}


def slides_of_the_day(seed: int) -> list[PhantomSlide]:
    """What is drawn; how many spiked cells arrive is drawn too."""
    rng = np.random.default_rng(seed)
    blanks = [PhantomSlide(f"blank_{number}", 0, WBCS, role="blank") for number in range(1, BLANKS + 1)]
    controls = [
        PhantomSlide(f"spiked_{added}", int(rng.binomial(added, ARRIVING)), WBCS, role="spike_in", spiked=added)
        for added in SPIKED
    ]
    patients = [
        PhantomSlide(f"{patient}_{letter}", ctcs, WBCS, patient=patient)
        for patient, numbers in PATIENTS.items()
        for letter, ctcs in zip("ab", numbers, strict=True)
    ]
    return [*blanks, *controls, *patients]


def draw(out_dir: Path, seed: int) -> None:
    """Draw the slides and their table."""
    config = BrightfieldPhantomConfig(um_per_px=UM_PER_PX)
    slides = slides_of_the_day(seed)
    table = write_slide_set(out_dir, slides, (SIDE_PX, SIDE_PX), config, seed, debris=DEBRIS, show_progress=True)
    print(f"{len(slides)} slides of {SIDE_PX} x {SIDE_PX} px; count them with: python tools/count.py {table} ...")


def compare(slides_dir: Path, counts_dir: Path) -> str:
    """A table in Markdown: each slide's count and interval beside the CTCs on it."""
    with (slides_dir / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["name"]: int(row["ctcs"]) for row in csv.DictReader(file)}
    rows, missing, inside = [], [], 0
    for name, number in truth.items():
        file = counts_dir / name / CARD
        if not file.is_file():
            missing.append(name)
            continue
        card = read_card(file)
        low, high = card["ctc"]["interval"]
        inside += low <= number <= high
        rows.append((name, number, card["ctc"]["count"], f"{low:.1f} to {high:.1f}", card["unidentified"]))
    table = markdown_table(("slide", "CTCs on it", "counted", "interval (95 %)", "unidentified"), rows)
    lacking = f"\n\nNot counted, and not in the table: {', '.join(missing)}." if missing else ""
    return f"{table}\n\nThe truth lies inside the interval on {inside} of {len(rows)} slides.{lacking}"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    drawing = parts.add_parser("draw", help="draw the slides")
    drawing.add_argument("--out", type=Path, required=True, help="folder of the slides")
    drawing.add_argument("--seed", type=int, default=0)
    comparing = parts.add_parser("compare", help="print a table of counts beside the truth")
    comparing.add_argument("slides", type=Path, help="folder of the slides")
    comparing.add_argument("counts", type=Path, help="what tools/count.py wrote")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, or compare."""
    args = parse_args(argv)
    if args.part == "draw":
        draw(args.out, args.seed)
    else:
        print(compare(args.slides, args.counts))


if __name__ == "__main__":
    sys.exit(run_cli(main))
