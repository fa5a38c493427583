"""How fast slides are counted, and with how much memory.

speed:  the detector route, SAHI with the same model, and the model alone on the same batches, in turn in one process.
imfish: the imFISH route, and its array functions alone on a field in memory, in turn, on one thread each.
memory: what a large slide takes beyond the model, a tiny one, in a process of its own.

example: python benchmarks/counting.py speed --config configs/lite/ssdlite_cbam_mobilenetv2_ctc.py --checkpoint best.pth
         python benchmarks/counting.py imfish --size 3000
         python benchmarks/counting.py memory --size 20000 --out memory.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Quartiles, clock, in_turn, machine, markdown_table, ratios, start

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.files import write_json

if TYPE_CHECKING:
    import torch

ALONE, OURS, OURS_ALL, SAHI = "model alone", "ours", "ours, every window", "SAHI"
ARRAYS = "array functions"


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    speed = commands.add_parser("speed", help="our path, SAHI and the model alone")
    speed.add_argument("--config", help="of a detector, with --checkpoint")
    speed.add_argument("--checkpoint", help="its weights")
    speed.add_argument("--model", help="instead: a detector made by tools/export.py")
    speed.add_argument("--engine", help="torch, onnxruntime or openvino (default: by the model)")
    speed.add_argument("--device", default="cpu", help="default: cpu")
    speed.add_argument("--batch-size", type=int, default=8, metavar="N", help="windows at once (default: 8)")
    imfish = commands.add_parser("imfish", help="the imFISH route and its array functions alone")
    memory = commands.add_parser("memory", help="memory of a large slide")
    for command, side in ((speed, 2048), (imfish, 3000), (memory, 20_000)):
        command.add_argument(
            "--size", type=int, default=side, metavar="PX", help=f"side of the slide (default: {side})"
        )
        # The array functions have one thread.
        threads = 1 if command is imfish else 2
        command.add_argument(
            "--threads", type=int, default=threads, metavar="N", help=f"of the route (default: {threads})"
        )
        command.add_argument("--seed", type=int, default=0, help="of the slide (default: 0)")
        command.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    for command in (speed, imfish):
        command.add_argument("--rounds", type=int, default=5, metavar="N", help="each is run so often (default: 5)")
    return parser


def take_turns(
    runs: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, list[list[float]]]:
    """Wall-clock and processor seconds of each run in each round; all of them once before, to warm up."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in runs}
    for number in progress(range(-1, rounds), "rounds", rounds + 1):
        for name in in_turn(list(runs), number):
            taken = clock(runs[name], device)
            if number >= 0:
                seconds[name].append(list(taken))
    return seconds


def speed_table(seconds: Mapping[str, Sequence[Sequence[float]]], baseline: str, megapixels: float) -> str:
    """Markdown: speed of each by the clock, and against the baseline's in the same round.

    By processor time (of all threads) too: where other programs have their share of the machine, that is what holds.
    """
    rows = []
    for name, times in seconds.items():
        walls, processors = zip(*times, strict=True)
        base_walls, base_processors = zip(*seconds[baseline], strict=True)
        rows.append(
            (
                name,
                f"{megapixels / min(walls):.2f}",
                f"{megapixels / Quartiles.of(walls).median:.2f}",
                f"{min(base_walls) / min(walls):.3f}",
                str(ratios(base_walls, walls)),
                f"{min(base_processors) / min(processors):.3f}",
            )
        )
    headers = (
        "", "MP/s (best)", "MP/s (median)", f"of {baseline} (best)", f"of {baseline} (median, quartiles)",
        "by processor time (best)",
    )  # fmt: skip
    return markdown_table(headers, rows)


def measure_speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Detector route, SAHI and model alone on one synthetic slide."""
    start(None)
    from counting_runs import DetectorRuns

    wanted = ("config", "checkpoint", "model", "engine", "device", "batch_size", "threads")
    settings = {name: getattr(args, name) for name in wanted if getattr(args, name) is not None}
    runs = DetectorRuns(settings, args.size, args.seed, folder)
    ways = {ALONE: runs.model_alone, OURS_ALL: runs.ours_on_every_window, OURS: runs.ours, SAHI: runs.sahi}
    seconds = take_turns(ways, args.rounds, runs.device)
    megapixels = args.size**2 / 1e6
    print(f"{runs.describe()}\n\n{speed_table(seconds, ALONE, megapixels)}")
    return {"seconds": seconds, "megapixels": megapixels, "found": runs.found, "machine": machine(runs.device)}


def measure_imfish(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """ImFISH route and array functions alone on one synthetic slide."""
    start(None)
    import cv2
    import torch
    from counting_runs import ImFISHRuns

    cv2.setNumThreads(args.threads)
    runs = ImFISHRuns(args.size, args.seed, args.threads, folder)
    device = torch.device("cpu")
    seconds = take_turns({ARRAYS: runs.array_functions, OURS: runs.ours}, args.rounds, device)
    megapixels = args.size**2 / 1e6
    print(f"{runs.describe()}\n\n{speed_table(seconds, ARRAYS, megapixels)}")
    return {"seconds": seconds, "megapixels": megapixels, "machine": machine(device)}


def measure_memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak memory of a slide beyond the loaded model, from the file to the report."""
    start(None)
    import torch
    from counting_memory import count_large_slide, write_large_slide

    path = folder / "slide.tif"
    write_large_slide(path, args.size, np.random.default_rng(args.seed))
    found = count_large_slide(path, folder, args.threads)
    print(markdown_table(("", "MiB"), [(name, f"{value:.0f}") for name, value in found["memory_mib"].items()]))
    print(f"\n{markdown_table(('file', 'MiB'), [(name, f'{mib:.1f}') for name, mib in found['files_mib'].items()])}")
    print(f"\n{args.size} x {args.size} px, {found['windows']} windows, {found['counts']}, {found['seconds']:.0f} s")
    return {**found, "machine": machine(torch.device("cpu"))}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    args = build_parser().parse_args(argv)
    measures = {"speed": measure_speed, "imfish": measure_imfish, "memory": measure_memory}
    with tempfile.TemporaryDirectory() as folder:
        told = measures[args.what](args, Path(folder))
    if args.out is not None:
        write_json(args.out, {"what": args.what, **told})


if __name__ == "__main__":
    sys.exit(run_cli(main))
