"""Measure the cell classifiers: draw the sets, train and test through the project's commands, put down the numbers.

docs/results/classification.md tells what came out.

example: python benchmarks/classification.py draw bccd imfish --data ../shared/data --out work/sets
         python benchmarks/classification.py run bccd imfish_cnn --sets work/sets --out work/runs
         python benchmarks/classification.py tables --sets work/sets --runs work/runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import classification_phantoms as phantoms
import classification_plan as plan
import classification_tables as tables
import cv2
from classification_figures import draw_numbers
from classification_sets import draw_bccd, once

from ctc_mm.cli import run_cli


def draw(name: str, data: Path, out: Path) -> None:
    """Draw one of the sets below ``out``; what is there already stays."""
    jobs: dict[str, tuple[dict[str, Any], Callable[[], dict[str, Any]]]] = {}
    if name == "bccd":
        jobs["bccd"] = ({}, lambda: draw_bccd(data, out / "bccd"))
    elif name == "imfish":
        jobs["imfish"] = ({"part": 0.2, "seed": 0}, lambda: phantoms.draw_imfish(out / "imfish", part=0.2, seed=0))
    elif name == "label-free":
        jobs["label_free"] = ({"seed": 0}, lambda: phantoms.draw_label_free(out / "label_free", seed=0))
    else:
        for seed in plan.DEPARRAY_SEEDS:
            folder = f"deparray_{seed}"
            parameters = {"seed": seed, "texture": [phantoms.DEPARRAY_BODY, phantoms.DEPARRAY_CHROMATIN]}
            jobs[folder] = (parameters, lambda folder=folder, seed=seed: phantoms.draw_deparray(out / folder, seed))
    for folder, (parameters, job) in jobs.items():
        told = once(out / folder, parameters, job)
        for cells, counts in told["sets"].items():
            print(f"{folder}/{cells}: {counts}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw and convert sets")
    drawing.add_argument("sets", nargs="+", choices=("bccd", "imfish", "deparray", "label-free"))
    drawing.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that holds bccd/")
    drawing.add_argument("--out", type=Path, required=True, help="folder of the sets")
    running = commands.add_parser("run", help="train and test on drawn sets; goes on where it was interrupted")
    running.add_argument("names", nargs="*", default=[""], metavar="NAME", help="runs whose name begins so (all)")
    running.add_argument("--sets", type=Path, required=True, help="folder of the sets")
    running.add_argument("--out", type=Path, required=True, help="folder of the runs")
    telling = commands.add_parser("tables", help="print the tables of the finished runs")
    telling.add_argument("--sets", type=Path, required=True, help="folder of the sets")
    telling.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    telling.add_argument("--picture", type=Path, metavar="FILE.png", help="draw them too")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    cv2.setNumThreads(1)
    if args.command == "run":
        for run in plan.chosen(args.names):
            seconds = plan.execute(run, args.sets.resolve(), args.out.resolve())
            print(f"{run.name}: {seconds:.0f} processor seconds", flush=True)
        return
    if args.command == "tables":
        print("\n\n".join(tables.every_table(args.runs, args.sets)))
        if args.picture is not None:
            draw_numbers(args.runs, args.picture)
        return
    for name in dict.fromkeys(args.sets):
        draw(name, args.data, args.out)


if __name__ == "__main__":
    sys.exit(run_cli(main))
