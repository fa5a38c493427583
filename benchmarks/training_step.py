"""What a training step of each detector costs: time and peak memory, each model in a process of its own.

Random images with random boxes stand in for data, so no loader is measured (benchmarks/training_throughput.py is for
that), and weights are random: neither changes what a step costs by much. Nothing is frozen, which costs most.

example: python benchmarks/training_step.py configs/compare/*.py --batch-size 8 --threads 1 --out steps.json
         python benchmarks/training_step.py configs/compare/*.py --device cuda --amp
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from common import Quartiles, clock, config_from_scratch, machine, markdown_table, parameters_m, resident_mib, start

from ctc_mm.cli import progress, run_cli
from ctc_mm.errors import ConfigError
from ctc_mm.formats.files import write_json

CELLS, CELL_PX = 8, (20, 60)  # of an image; side of a box


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG", help="detectors")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step (default: the config's)")
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="that are timed (default: 3)")
    parser.add_argument("--warmup", type=int, default=1, metavar="N", help="steps before them (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's threads on the CPU (default: torch's own)")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument(
        "--contiguous", action="store_true", help="leave weights as PyTorch lays them (no channels_last)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and images (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    if min(1 if one is None else one for one in (args.batch_size, args.steps, args.threads)) < 1 or args.warmup < 0:
        parser.error("--batch-size, --steps and --threads start at 1, --warmup at 0")
    return args


def drawn_batch(batch_size: int, side_px: int, num_classes: int, seed: int) -> dict[str, list]:
    """A batch as the data loader gives it: (3, S, S) uint8 noise, and samples with random boxes."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator, inputs, samples = torch.Generator().manual_seed(seed), [], []
    shape_hw = (side_px, side_px)
    for index in range(batch_size):
        sides = torch.randint(*CELL_PX, (CELLS, 2), generator=generator).float()
        corners = torch.rand((CELLS, 2), generator=generator) * (side_px - sides)
        sample = DetDataSample(metainfo=dict(img_shape=shape_hw, ori_shape=shape_hw, scale_factor=(1.0, 1.0),
                                             batch_input_shape=shape_hw, img_id=index))  # fmt: skip
        labels = torch.randint(num_classes, (CELLS,), generator=generator)
        sample.gt_instances = InstanceData(bboxes=torch.cat([corners, corners + sides], dim=1), labels=labels)
        empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        sample.ignored_instances = empty
        inputs.append(torch.randint(256, (3, *shape_hw), dtype=torch.uint8, generator=generator))
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


def measure(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Steps of one model alone in this process, forward, backward and optimiser.

    Raises:
        ConfigError: the config is of no detector, or does not say ``input_size``, the side of its images in pixels.
    """
    start(args.threads)
    import torch
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    from ctc_mm.evaluation.memory import peak_memory_mib, reset_peak_memory

    config = config_from_scratch(path)
    missing = [key for key in ("input_size", "num_classes", "model", "optim_wrapper") if key not in config]
    if missing:
        raise ConfigError(
            f"{path}: has no {', '.join(missing)}; give a detector's config, such as configs/compare/*.py"
        )
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    reset_peak_memory(device)
    libraries_mib = 0.0 if device.type == "cuda" else resident_mib()
    model = MODELS.build(config.model)
    model.init_weights()
    model.to(device, memory_format=torch.contiguous_format if args.contiguous else torch.channels_last).train()
    wrapper = dict(config.optim_wrapper) | ({"type": "AmpOptimWrapper"} if args.amp else {})
    optimiser = build_optim_wrapper(model, wrapper)
    batch_size = args.batch_size or config.train_dataloader.batch_size
    batch = drawn_batch(batch_size, config.input_size, config.num_classes, args.seed)
    times = [clock(lambda: model.train_step(batch, optimiser), device) for _ in range(args.warmup + args.steps)]
    peak_mib = peak_memory_mib(device)
    return {
        "batch_size": batch_size,
        "wall_s": [wall for wall, _ in times[args.warmup :]],
        "processor_s": [processor for _, processor in times[args.warmup :]],
        "libraries_mib": libraries_mib,
        "peak_mib": peak_mib,
        "parameters_m": parameters_m(model),
        "machine": machine(device),
    }


def measure_all(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every model in a fresh process, since a peak never falls."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        jobs = {path.stem: pool.submit(measure, path, args) for path in args.configs}
        return {name: jobs[name].result() for name in progress(jobs, "Training steps")}


def rows_of(found: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Lines of the table."""
    return [
        (
            name,
            str(one["batch_size"]),
            f"{one['parameters_m']:.1f}",
            str(Quartiles.of(value / one["batch_size"] for value in one["wall_s"])),
            str(Quartiles.of(value / one["batch_size"] for value in one["processor_s"])),
            f"{one['peak_mib'] - one['libraries_mib']:.0f}",
        )
        for name, one in found.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    args = parse_args(argv)
    found = measure_all(args)
    about = next(iter(found.values()))["machine"]
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    headers = ("model", "batch", "parameters, M", "s an image", "processor s an image", "peak MiB, libraries apart")
    print(markdown_table(headers, rows_of(found)))
    if args.out:
        write_json(args.out, found)
        print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
