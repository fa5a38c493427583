"""Measure the imaging room: nuclei, CEP8 spots and the imFISH rule, on the shared images and on phantoms.

Each part stands in a module of its own (imaging_nuclei.py, imaging_spots.py, imaging_imfish.py), is run beside the
usual method in the same process, and adds its numbers to one JSON file; docs/results/imaging.md tells what came out.

example: python benchmarks/imaging.py --data ../shared/data --out imaging.json --parts nuclei
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ctc_mm.cli import run_cli
from ctc_mm.formats.files import write_json

# Part -> whether it is measured on the shared images (else on phantoms). Part p is benchmark_p() of imaging_p.py.
PARTS = {"nuclei": True, "spots": True, "imfish": False, "cells": False}


def measure(part: str, data: Path) -> tuple[dict[str, Any], str]:
    """Run a part; plain values for JSON, and the same as Markdown."""
    module = import_module(f"imaging_{part}")
    benchmark = getattr(module, f"benchmark_{part}")
    result = benchmark(data) if PARTS[part] else benchmark()
    return result, getattr(module, f"{part}_markdown")(result)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of nuclei_bbbc039, spots_deepspot and others")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (all)")
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV, 0 for its own choice (1)")
    args = parser.parse_args(argv)
    if args.threads < 0:
        parser.error(f"--threads must be 0 or more; received {args.threads}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if not args.data.is_dir():
        raise FileNotFoundError(f"{args.data}: no such folder; give the folder of the shared images with --data")
    cv2.setNumThreads(args.threads if args.threads else -1)
    machine = {"python": platform.python_version(), "opencv": cv2.__version__, "numpy": np.__version__}
    measured = {part: measure(part, args.data) for part in dict.fromkeys(args.parts)}
    results = {part: result for part, (result, _) in measured.items()}
    write_json(args.out, {"versions": machine, "threads": args.threads, **results})
    for part, (_, markdown) in measured.items():
        print(f"## {part}\n\n{markdown}\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
