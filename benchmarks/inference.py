"""Ways to run one network side by side: PyTorch (eager, channels_last, compiled), ONNX Runtime, OpenVINO, and in int8.

A time is one batch through the network, from prepared images to the scores and boxes of all priors (or probabilities);
selecting boxes is the same for all and left out. Every way takes its turn in each round, and its time is divided by
that of eager PyTorch in the same round. Differences are those from eager PyTorch on the same drawn images, from which
int8 takes its ranges too: they say nothing of accuracy (tools/export.py --int8 --check-ap does). Weights are random
where no checkpoint is given. What cannot be run, on this device or without its packages, is named with its reason.

example: python benchmarks/inference.py configs/ssd_cbam_vgg16_ctc.py configs/lite/ssdlite_mobilenetv2_bccd.py=best.pth
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import clock, in_turn, machine, markdown_table, ratios, start
from engines import random_checkpoint

from ctc_mm.cli import message_of, progress, run_cli
from ctc_mm.formats.files import write_json

if TYPE_CHECKING:
    import torch

    from ctc_mm.counting.engines.torch_engine import TorchModel

Run = Callable[[np.ndarray], list[np.ndarray]]
EAGER, CHANNELS_LAST, COMPILED = "eager", "channels_last", "torch.compile"
# Format of the file, whether it is quantised, and OpenVINO's precision for the other layers.
FILES = {
    "onnxruntime": ("onnx", False, None),
    "openvino": ("openvino", False, "f32"),
    "openvino bfloat16": ("openvino", False, "bf16"),
    "onnxruntime int8": ("onnx", True, None),
    "openvino int8": ("openvino", True, "f32"),
}
WAYS = (EAGER, CHANNELS_LAST, COMPILED, *FILES)
HEADERS = ("model", "batch", "way", "time, eager = 1", "faster by", "images/s", "score difference", "least IoU")


@dataclass
class Measured:
    """Of one model and batch size: seconds of every round, what differs from eager, and what could not be run."""

    model: str
    batch_size: int
    wall_s: dict[str, list[float]] = field(default_factory=dict)
    processor_s: dict[str, list[float]] = field(default_factory=dict)
    score_difference: dict[str, float] = field(default_factory=dict)
    least_iou: dict[str, float | None] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("models", nargs="+", metavar="CONFIG[=CHECKPOINT]", help="detectors and classifiers")
    add("--batch-sizes", type=int, nargs="+", default=[1, 4], metavar="N", help="default: 1 4")
    add("--rounds", type=int, default=7, metavar="N", help="rounds over the ways (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="of each way (default: %(default)s)")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"of {', '.join(WAYS)}")
    add("--calibration", type=int, default=16, metavar="N", help="images for the ranges of int8 (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    if min(*args.batch_sizes, args.rounds, args.threads, args.calibration) < 1:
        parser.error("--batch-sizes, --rounds, --threads and --calibration start at 1")
    return args


def in_torch(graph: torch.nn.Module, way: str, device: str) -> Run:
    """The graph in PyTorch, as one of its three ways."""
    import torch

    layout = torch.contiguous_format if way == EAGER else torch.channels_last
    module = copy.deepcopy(graph).to(device=device, memory_format=layout)
    # A batch size and its kernels each, as a server with a fixed one would do it.
    called = torch.compile(module, dynamic=False) if way == COMPILED else module

    def run(batch: np.ndarray) -> list[np.ndarray]:
        images = torch.from_numpy(batch).to(device).contiguous(memory_format=layout)
        with torch.inference_mode():
            found = called(images)
        return [one.cpu().numpy() for one in (found if isinstance(found, tuple) else (found,))]

    return run


class Files:
    """The model's files, traced once and written when one is asked for."""

    def __init__(self, loaded: TorchModel, graph: torch.nn.Module, args: argparse.Namespace, folder: Path) -> None:
        self.loaded, self.graph, self.args, self.folder, self._program = loaded, graph, args, folder, None

    def path_of(self, format_name: str, int8: bool) -> Path:
        """The file, written now or before."""
        from ctc_mm.engine.export import ExportOptions, facts_of, graph_of
        from ctc_mm.engine.export_check import drawn_images
        from ctc_mm.engine.export_files import SUFFIXES, WRITERS, require_packages, trace

        path = self.folder / f"{format_name}{'_int8' if int8 else ''}{SUFFIXES[format_name]}"
        if not path.exists():
            require_packages(format_name, int8)
            options, chw = ExportOptions(int8=int8), self.loaded.info.input_chw
            _, self.outputs, rules = graph_of(self.loaded, options)
            self._program = self._program or trace(self.graph, self.outputs, chw)
            images = drawn_images(chw, self.args.calibration) if int8 else None
            facts = facts_of(self.loaded, format_name, options, rules, images)
            WRITERS[format_name](self._program, images).write(facts, path)
        return path

    def run_of(self, way: str, batch_size: int) -> Run:
        """A file in its engine."""
        from ctc_mm.counting.engines import EngineSettings
        from ctc_mm.counting.engines.sessions import OpenVINOSession, open_session

        format_name, int8, precision = FILES[way]
        path, args = self.path_of(format_name, int8), self.args
        settings = EngineSettings(model=str(path), device=args.device, batch_size=batch_size, threads=args.threads)
        session = open_session(settings) if precision is None else OpenVINOSession(path, settings, precision)

        def run(batch: np.ndarray) -> list[np.ndarray]:
            found = session.run(batch)
            return [found[name] for name in self.outputs]

        return run


def measure(model: str, args: argparse.Namespace) -> list[Measured]:
    """Every way with a model, at every batch size."""
    from ctc_mm.counting.engines import EngineSettings
    from ctc_mm.counting.engines.torch_engine import TorchModel
    from ctc_mm.engine.export import ExportOptions, graph_of

    config, _, checkpoint = model.partition("=")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = EngineSettings(config=config, checkpoint=checkpoint or random_checkpoint(config, folder))
        loaded = TorchModel(settings)
        graph = graph_of(loaded, ExportOptions())[0].eval()
        files = Files(loaded, graph, args, folder)
        return [_measure_batch(Path(config).stem, size, files, args) for size in args.batch_sizes]


def _measure_batch(name: str, batch_size: int, files: Files, args: argparse.Namespace) -> Measured:
    import torch

    from ctc_mm.engine.export_check import drawn_images

    found, runs = Measured(name, batch_size), {}
    batch = drawn_images(files.loaded.info.input_chw, batch_size)
    for way in progress(dict.fromkeys([EAGER, *args.ways]), f"{name}, batch {batch_size}: building"):
        try:
            run = files.run_of(way, batch_size) if way in FILES else in_torch(files.graph, way, args.device)
            outputs = run(batch)  # warms up, and compiles
        except Exception as error:  # each library has its own; a way that is not there is no reason to end
            if way == EAGER:
                raise
            found.not_run[way] = message_of(error).splitlines()[0]
            continue
        runs[way] = run
        if way == EAGER:
            expected = outputs
        found.score_difference[way], found.least_iou[way] = _differences(outputs, expected)
    device = torch.device(args.device)
    times = {way: [] for way in runs}
    for index in progress(range(args.rounds), f"{name}, batch {batch_size}: measuring"):
        for way in in_turn(list(runs), index):
            times[way].append(clock(lambda way=way: runs[way](batch), device))
    found.wall_s = {way: [wall for wall, _ in both] for way, both in times.items()}
    found.processor_s = {way: [processor for _, processor in both] for way, both in times.items()}
    return found


def _differences(found: list[np.ndarray], expected: list[np.ndarray]) -> tuple[float, float | None]:
    """Largest difference of a score, and the least IoU of a prior's box; None of a classifier."""
    from ctc_mm.engine.export_check import iou_of_pairs

    score = float(np.abs(found[0] - expected[0]).max())
    if len(found) == 1:
        return score, None
    return score, float(iou_of_pairs(found[1].reshape(-1, 4), expected[1].reshape(-1, 4)).min())


def rows_of(found: Measured, by_processor: bool) -> list[tuple[str, ...]]:
    """Lines of the table: processor time of a CPU, which a shared machine disturbs less, else wall-clock time."""
    times, rows = found.processor_s if by_processor else found.wall_s, []
    for way in WAYS:
        start_of_row = (found.model, str(found.batch_size), way)
        if way in found.not_run:
            rows.append((*start_of_row, f"not run: {found.not_run[way]}", "", "", "", ""))
        elif way in times:
            share, iou = ratios(times[way], times[EAGER]), found.least_iou[way]
            per_s = found.batch_size / np.median(times[way])
            difference = "" if way == EAGER else f"{found.score_difference[way]:.1g}"
            overlap = "" if way == EAGER or iou is None else f"{iou:.4f}"
            rows.append((*start_of_row, str(share), f"{1 / share.median:.2f} x", f"{per_s:.2f}", difference, overlap))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the numbers."""
    args = parse_args(argv)
    start(args.threads)
    import torch

    device = torch.device(args.device)
    results = [one for model in args.models for one in measure(model, args)]
    by_processor = device.type == "cpu"
    print(markdown_table(HEADERS, [row for one in results for row in rows_of(one, by_processor)]))
    clocked = "processor time of all threads" if by_processor else "wall-clock time"
    print(f"\n{clocked}, median (quartiles) of {args.rounds} rounds; {args.threads} threads")
    if args.out is not None:
        write_json(args.out, {"machine": machine(device), "models": [vars(one) for one in results]})


if __name__ == "__main__":
    sys.exit(run_cli(main))
