"""How fast a config trains, and how long the training waits for data.

A synthetic set is drawn into a temporary folder and converted, and the config's own Runner trains on it from random
weights, without validation and checkpoints. The first epoch warms up (workers start, files enter the system's cache).
"data" is what IterTimerHook calls data_time: the time before a step in which the training waits for its batch.

example: python benchmarks/training_throughput.py --out training.json
         python benchmarks/training_throughput.py --config configs/ssd_cbam_vgg16_ctc.py --iterations 4 --threads 2
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import (
    ROOT,
    Quartiles,
    config_from_scratch,
    machine,
    markdown_table,
    parameters_m,
    peak_memory_mib,
    ratios,
    resident_mib,
    start,
)

from ctc_mm.cli import run_cli
from ctc_mm.formats.files import write_json
from ctc_mm.phantoms import BrightfieldPhantomConfig, write_labelme_set

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

CONFIG = ROOT / "configs/lite/ssdlite_cbam_mobilenetv2_ctc.py"
CONVERTER = ROOT / "data_converters/labelme_to_coco.py"
HOOKS_ON_VALIDATION = ("DelayedEarlyStoppingHook", "OperatingPointHook")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG, help=f"default: {CONFIG.relative_to(ROOT)}")
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="steps an epoch (default: 10)")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="epochs after the first (default: 3)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: the config's")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that load images (default: the config's)")
    parser.add_argument("--side", type=int, default=640, metavar="PX", help="of the synthetic fields (default: 640)")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's threads on the CPU (default: torch's own)")
    parser.add_argument("--seed", type=int, default=0, help="of set and training (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    at_least_1 = (args.iterations, args.epochs, args.batch_size, args.threads)
    if min(n for n in at_least_1 if n is not None) < 1 or (args.workers or 0) < 0:
        parser.error("--iterations, --epochs, --batch-size and --threads start at 1, --workers at 0")
    return args


def write_set(data_root: Path, fields: int, side_px: int, seed: int) -> None:
    """Draw ``fields`` synthetic fields and convert them: ``images/train/*.png`` and ``train.json``.

    Raises:
        RuntimeError: the converter failed; its own message stands above.
    """
    images = data_root / "images"
    config = BrightfieldPhantomConfig(image_wh=(side_px, side_px))
    write_labelme_set(images, {"train": fields}, config, seed, show_progress=True)
    command = [CONVERTER, images / "train", "--images", images, "--out", data_root / "train.json"]
    if subprocess.run([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, check=False).returncode:
        raise RuntimeError(f"{CONVERTER.relative_to(ROOT)} failed; its message stands above.")


def training_config(args: argparse.Namespace, data_root: Path) -> Config:
    """The config on the synthetic set: from scratch, without validation, checkpoints and what hangs on them."""
    options = {"data_root": f"{data_root}/", "train_cfg.max_epochs": args.epochs + 1, "randomness.seed": args.seed}
    config = config_from_scratch(args.config, options)
    config.work_dir, config.log_level = str(data_root / "work_dir"), "WARNING"
    loader = config.train_dataloader
    loader.batch_size = args.batch_size or loader.batch_size
    if args.workers is not None:
        loader.num_workers, loader.persistent_workers = args.workers, args.workers > 0
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.default_hooks.checkpoint = None
    config.custom_hooks = [h for h in config.custom_hooks if h["type"].rpartition(".")[2] not in HOOKS_ON_VALIDATION]
    return config


def train(config: Config, measured_epochs: int) -> tuple[Runner, dict[str, list[float]]]:
    """Train; return the runner and, of the last epochs, the seconds of each step: ``time``, in it ``data_time``."""
    from mmengine.runner import Runner

    runner = Runner.from_cfg(config)
    runner.train()
    count = len(runner.train_dataloader) * measured_epochs
    seconds = {key: runner.message_hub.get_scalar(f"train/{key}").data[0][-count:] for key in ("time", "data_time")}
    return runner, {key: values.tolist() for key, values in seconds.items()}


def processor_s_per_image(runner: Runner, most: int = 32) -> float:
    """Processor seconds to read and augment one training image: what a worker takes from the cores."""
    dataset = runner.train_dataloader.dataset
    count = min(len(dataset), most)
    begin = time.process_time()
    for index in range(count):
        dataset[index]
    return (time.process_time() - begin) / count


def summarise(seconds: dict[str, list[float]], batch_size: int) -> dict[str, Any]:
    """Images per second, step and data time, and the share of data time: of all steps together, and step by step."""
    return {
        "images_per_s": batch_size * len(seconds["time"]) / sum(seconds["time"]),
        "step_s": Quartiles.of(seconds["time"]),
        "data_s": Quartiles.of(seconds["data_time"]),
        "data_share": sum(seconds["data_time"]) / sum(seconds["time"]),
        "data_share_by_step": ratios(seconds["data_time"], seconds["time"]),
    }


def print_report(result: dict[str, Any], about: dict[str, Any]) -> None:
    """Print one table of Markdown."""
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    rows = [
        ("images/s", f"{result['images_per_s']:.2f}"),
        ("step, s", result["step_s"]),
        ("of it data, s", result["data_s"]),
        ("data's share of all steps, %", f"{100 * result['data_share']:.2f}"),
        ("data's share of a step", result["data_share_by_step"]),
        ("reading and augmenting an image, processor ms", f"{1000 * result['processor_s_per_image']:.1f}"),
        ("parameters (M)", f"{result['parameters_m']:.2f}"),
        ("peak MiB, without workers", f"{result['peak_mib']:.0f}"),
        ("libraries alone, MiB", f"{result['libraries_mib']:.0f}"),
    ]
    print(markdown_table(["median (quartiles) where of steps", "value"], rows))


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, train, print a table, write JSON."""
    args = parse_args(argv)
    start(args.threads)
    libraries_mib = resident_mib()
    with tempfile.TemporaryDirectory(prefix="ctc_mm_") as folder:
        config = training_config(args, Path(folder))
        batch_size = config.train_dataloader.batch_size
        write_set(Path(folder), args.iterations * batch_size, args.side, args.seed)
        runner, seconds = train(config, args.epochs)
        device = next(runner.model.parameters()).device
        result = {
            **summarise(seconds, batch_size),
            "processor_s_per_image": processor_s_per_image(runner),
            "parameters_m": parameters_m(runner.model),
            "peak_mib": peak_memory_mib(device),
            "libraries_mib": libraries_mib,
        }
    workers = config.train_dataloader.num_workers
    about = {"config": args.config.stem, "batch_size": batch_size, "workers": workers, "steps": len(seconds["time"])}
    about |= {"field_px": args.side, **machine(device)}
    print_report(result, about)
    if args.out:
        plain = {key: asdict(value) if isinstance(value, Quartiles) else value for key, value in result.items()}
        write_json(args.out, {**about, **plain, "seconds": seconds})
        print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
