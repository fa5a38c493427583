r"""What attention and fusion cost: SSD300, +CBAM, +fusion and both, side by side in one run.

Every round runs every model, and each time is divided by that of the first model in the same round, so that noise of
a shared machine hits all alike. "network" is backbone, neck and head; "predict" adds decoding, NMS and scaling of the
boxes. The weights are random, so the score threshold is set to let as many candidates into NMS for each model.

example: python benchmarks/ssd_cost.py --batch-size 4 --rounds 9 --threads 2 --out ssd_cost.json
         python benchmarks/ssd_cost.py configs/lite/ssdlite_mobilenetv2_ctc.py \
             configs/lite/ssdlite_cbam_mobilenetv2_ctc.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import (
    ROOT,
    Quartiles,
    clock,
    config_from_scratch,
    in_turn,
    machine,
    markdown_table,
    parameters_m,
    peak_memory_mib,
    ratios,
    resident_mib,
    start,
)

from ctc_mm.cli import progress, run_cli
from ctc_mm.errors import ConfigError
from ctc_mm.formats.files import write_json
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

if TYPE_CHECKING:
    from torch import nn

ABLATION = [ROOT / f"configs/ablation/{name}.py" for name in ("ssd", "ssd_attention", "ssd_fusion")]
DEFAULT_CONFIGS = [*ABLATION, ROOT / "configs/ablation/ssd_attention_fusion.py"]
PARTS = ("network", "predict")
CLOCKS = ("wall_s", "processor_s")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "configs",
        nargs="*",
        type=Path,
        default=DEFAULT_CONFIGS,
        metavar="CONFIG",
        help="models to compare, the first is what the others are divided by (default: the four of the ablation)",
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="images a batch (default: 4)")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="rounds over all models (default: 9)")
    parser.add_argument("--warmup", type=int, default=1, metavar="N", help="rounds that do not count (default: 1)")
    parser.add_argument(
        "--candidates",
        type=int,
        default=200,
        metavar="N",
        help="scores an image, over anchors and classes, that pass the threshold and enter NMS (default: 200)",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's threads on the CPU (default: torch's own)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and images (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    names = [path.stem for path in args.configs]
    if len(set(names)) != len(names):
        parser.error(f"the configs need names of their own: {names}")
    if (
        min(args.batch_size, args.rounds, args.candidates, 1 if args.threads is None else args.threads) < 1
        or args.warmup < 0
    ):
        parser.error("--batch-size, --candidates, --rounds and --threads start at 1, --warmup at 0")
    return args


class Contestant:
    """One model in evaluation mode with a preprocessed batch of synthetic fields.

    Args:
        path: its config; the weights are random.
        batch_size: images a batch.
        candidates: scores an image that enter NMS.
        device: where it runs.
        seed: of weights and images.

    Raises:
        ConfigError: the config does not say ``input_size``, the side of its input in pixels.
    """

    def __init__(self, path: Path, batch_size: int, candidates: int, device: str, seed: int) -> None:
        import torch
        from mmdet.registry import MODELS

        config = config_from_scratch(path)
        if "input_size" not in config:
            raise ConfigError(f"{path}: has no `input_size`, the side of the model's input in pixels.")
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.model: nn.Module = MODELS.build(config.model)
        self.model.init_weights()
        self.model.eval().to(self.device)
        self.batch = self.model.data_preprocessor(synthetic_batch(batch_size, config.input_size, seed), False)
        with torch.inference_mode():
            # A trained detector rejects nearly all anchors; random scores would leave NMS more work than the network.
            self.model.bbox_head.test_cfg.score_thr = self._score_with_rank(candidates * batch_size)

    def _score_with_rank(self, rank: int) -> float:
        """The score that ``rank`` scores of the batch are above; 0 where there are not as many."""
        import torch

        levels, _ = self.network()
        logits = [level.permute(0, 2, 3, 1).reshape(-1, self.model.bbox_head.cls_out_channels) for level in levels]
        scores = torch.cat(logits).softmax(-1)[:, :-1].flatten()  # background is the last
        return scores.sort(descending=True).values[rank].item() if rank < len(scores) else 0.0

    def network(self) -> Any:
        """Backbone, neck and head: raw class scores and box offsets."""
        return self.model(**self.batch, mode="tensor")

    def predict(self) -> Any:
        """From the preprocessed batch to boxes in pixels of the original image."""
        return self.model(**self.batch, mode="predict")

    def gflops_per_image(self) -> float:
        """1e9 operations an image; a multiplication and an addition count as two, convolutions only."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.network()
        return counter.get_total_flops() / 1e9 / len(self.batch["inputs"])


def build(path: Path, args: argparse.Namespace) -> Contestant:
    """The model of one config as the command line wants it."""
    return Contestant(path, args.batch_size, args.candidates, args.device, args.seed)


def synthetic_batch(batch_size: int, side_px: int, seed: int) -> dict[str, list]:
    """A batch as the data loader gives it: (3, S, S) uint8 fields and samples without truth."""
    import torch
    from mmdet.structures import DetDataSample

    field_config = BrightfieldPhantomConfig(image_wh=(side_px, side_px))
    rng = np.random.default_rng(seed)
    images = [generate_field(field_config, rng, blank=False).image for _ in range(batch_size)]
    shape_hw = (side_px, side_px)
    meta = dict(img_shape=shape_hw, ori_shape=shape_hw, scale_factor=(1.0, 1.0))
    return {
        "inputs": [torch.from_numpy(np.repeat(image[None], 3, axis=0)) for image in images],
        "data_samples": [DetDataSample(metainfo=dict(meta, img_id=index)) for index in range(batch_size)],
    }


def measure_memory(path: Path, args: argparse.Namespace) -> dict[str, float]:
    """Peak memory of one model alone in this process, and what Python and its libraries take before it is built."""
    start(args.threads)
    import torch

    libraries_mib = resident_mib()
    contestant = build(path, args)
    with torch.inference_mode():
        for _ in range(2):
            contestant.predict()
    return {"libraries_mib": libraries_mib, "peak_mib": peak_memory_mib(contestant.device)}


def measure_memories(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Peak memory of every model, each in a fresh process, since a peak never falls."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        jobs = {path.stem: pool.submit(measure_memory, path, args) for path in args.configs}
        return {name: jobs[name].result() for name in progress(jobs, "Peak memory")}


def measure_times(
    contestants: Mapping[str, Contestant], rounds: int, warmup: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Seconds a batch, by model, part (``network``, ``predict``) and clock (``wall_s``, ``processor_s``)."""
    import torch

    times = {name: {part: {what: [] for what in CLOCKS} for part in PARTS} for name in contestants}
    with torch.inference_mode():
        for index in progress(range(-warmup, rounds), "Rounds", total=warmup + rounds):
            for part in PARTS:
                for name in in_turn(list(contestants), index):
                    seconds = clock(getattr(contestants[name], part), contestants[name].device)
                    if index >= 0:
                        for what, value in zip(CLOCKS, seconds, strict=True):
                            times[name][part][what].append(value)
    return times


def summarise(times: Mapping[str, Mapping], batch_size: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Images per second, and ratios to the first model, by model and part."""
    baseline = next(iter(times))
    return {
        name: {
            part: {
                "images_per_s": batch_size / Quartiles.of(times[name][part]["wall_s"]).median,
                "wall_ratio": ratios(times[name][part]["wall_s"], times[baseline][part]["wall_s"]),
                "processor_ratio": ratios(times[name][part]["processor_s"], times[baseline][part]["processor_s"]),
            }
            for part in PARTS
        }
        for name in times
    }


def print_report(models: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Print two tables of Markdown: what the models are, and how fast."""
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    sizes = [
        [name, *(f"{m[key]:.2f}" for key in ("parameters_m", "gflops_per_image")), f"{m['memory']['peak_mib']:.0f}",
         f"{m['memory']['libraries_mib']:.0f}"]
        for name, m in models.items()
    ]  # fmt: skip
    print(markdown_table(["model", "parameters (M)", "GFLOPs/image", "peak MiB", "libraries alone, MiB"], sizes))
    baseline = next(iter(models))
    speeds = [
        [f"{name}, {part}", f"{m[part]['images_per_s']:.2f}", m[part]["wall_ratio"], m[part]["processor_ratio"]]
        for part in PARTS
        for name, m in models.items()
    ]
    print("\n" + markdown_table(["model, part", "images/s", f"time / {baseline}", "processor time ratio"], speeds))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print tables, write JSON."""
    args = parse_args(argv)
    start(args.threads)
    memories = measure_memories(args)
    contestants = {path.stem: build(path, args) for path in args.configs}
    times = measure_times(contestants, args.rounds, args.warmup)
    summary = summarise(times, args.batch_size)
    models = {
        name: {
            "parameters_m": parameters_m(contestant.model),
            "gflops_per_image": contestant.gflops_per_image(),
            "memory": memories[name],
            **summary[name],
        }
        for name, contestant in contestants.items()
    }
    device = next(iter(contestants.values())).device
    about = {"batch_size": args.batch_size, "candidates": args.candidates, "rounds": args.rounds, **machine(device)}
    print_report(models, about)
    if args.out:
        plain = {name: {**m, **{part: _plain(m[part]) for part in PARTS}} for name, m in models.items()}
        write_json(args.out, {**about, "models": plain, "seconds_per_batch": times})
        print(f"\nwritten: {args.out}")


def _plain(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: asdict(value) if isinstance(value, Quartiles) else value for key, value in part.items()}


if __name__ == "__main__":
    sys.exit(run_cli(main))
