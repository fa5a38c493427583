"""The process that measures trained detectors: ``python -m ctc_mm.engine.comparison.measuring WHAT SPEC OUT``.

``measurements.py`` starts it: a process of its own has memory of its own, and the number of threads that it was given.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ctc_mm.cli import run_cli
from ctc_mm.cpu import tune_cpu

tune_cpu()  # before torch

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from ctc_mm.engine.checkpoint import load_checkpoint_safely  # noqa: E402
from ctc_mm.engine.setup import register_all_modules  # noqa: E402
from ctc_mm.evaluation.memory import peak_memory_mib, reset_peak_memory, resident_mib  # noqa: E402
from ctc_mm.evaluation.speed import chosen_device, device_name, seconds_of  # noqa: E402
from ctc_mm.formats.files import write_json  # noqa: E402
from ctc_mm.models.loading import load_all_weights  # noqa: E402

CHANNELS_LAST_HOOK = "ChannelsLastHook"
T = TypeVar("T")
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class TrainedModel:
    """A detector with its weights, and test images as it takes them.

    Args:
        spec: ``config`` and ``checkpoint``, paths.
        device: where it runs.
        trust: load the weights by pickle.
    """

    def __init__(self, spec: Mapping[str, str], device: torch.device, trust: bool) -> None:
        from mmdet.registry import DATASETS, MODELS

        config = Config.fromfile(spec["config"])
        self.device = device
        self.model = MODELS.build(config.model)
        load_all_weights(self.model, load_checkpoint_safely(spec["checkpoint"], trust), spec["checkpoint"])
        if any(str(hook.get("type")).endswith(CHANNELS_LAST_HOOK) for hook in config.get("custom_hooks") or []):
            self.model.to(memory_format=torch.channels_last)
        self.model.eval().to(device)
        self.images = DATASETS.build(config.test_dataloader.dataset)

    def batch(self, size: int) -> dict[str, Any]:
        """The first test images (from the start again where there are fewer), preprocessed, on the device."""
        images = [self.images[index % len(self.images)] for index in range(size)]
        return self.model.data_preprocessor(pseudo_collate(images), False)

    def predict(self, batch: Mapping[str, Any]) -> Callable[[], Any]:
        """From a preprocessed batch to boxes in pixels of the original images."""
        return lambda: self.model(**batch, mode="predict")


@torch.no_grad()
def measure_cost(spec: Mapping[str, Any], out: Path) -> None:
    """Size, operations and memory of the one model of ``spec``, on its first test image."""
    device = chosen_device(spec["device"])
    libraries_mib = resident_mib() if device.type == "cpu" else 0.0
    trained = TrainedModel(next(iter(spec["models"].values())), device, spec["trust"])
    batch = trained.batch(1)
    reset_peak_memory(device)  # a checkpoint holds the optimizer's state too, twice the weights or more
    for _ in range(2):
        trained.predict(batch)()
    peak_mib = peak_memory_mib(device)
    with FlopCounterMode(display=False) as counter:
        trained.predict(batch)()
    content = {
        "key": spec["key"],
        "parameters_m": sum(one.numel() for one in trained.model.parameters()) / 1e6,
        "gflops": counter.get_total_flops() / 1e9,
        "peak_mib": peak_mib,
        "libraries_mib": libraries_mib,
        "input_hw": list(batch["inputs"].shape[-2:]),
    }
    write_json(out, content)


@torch.no_grad()
def measure_speed(spec: Mapping[str, Any], out: Path) -> None:
    """Seconds a batch of all models of ``spec``; they take turns, and each round begins with another one.

    What is there of the same spec is kept: each batch size is written when it is done.
    """
    device = chosen_device(spec["device"])
    known = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    seconds = known.get("seconds", {}) if known.get("key") == spec["key"] else {}
    models = {name: TrainedModel(one, device, spec["trust"]) for name, one in spec["models"].items()}
    for size in (one for one in spec["batch_sizes"] if str(one) not in seconds):
        seconds[str(size)] = _rounds(models, size, spec["rounds"])
        print(f"batch {size}: {spec['rounds']} rounds of {len(models)} models", flush=True)  # noqa: T201
        write_json(out, {"key": spec["key"], "seconds": seconds, "machine": machine(device)})


def _rounds(models: Mapping[str, TrainedModel], size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round by model; none of a model that memory does not do for."""
    made = {name: _unless_out_of_memory(partial(_prediction, model, size)) for name, model in models.items()}
    runs = {name: run for name, run in made.items() if run is not None}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for index in range(-1, rounds):  # the first warms up
        names = list(runs)
        for name in (*names[index % max(len(names), 1) :], *names[: index % max(len(names), 1)]):
            taken = _unless_out_of_memory(partial(seconds_of, runs[name], models[name].device))
            if taken is None:
                runs.pop(name)
                seconds[name] = []
            elif index >= 0:
                seconds[name].append(taken)
    return seconds


def _prediction(model: TrainedModel, size: int) -> Callable[[], Any]:
    return model.predict(model.batch(size))


def _unless_out_of_memory(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except RuntimeError as error:
        if not any(text in str(error).lower() for text in OUT_OF_MEMORY):
            raise
        return None


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Read the spec, measure, write."""
    what, spec, out = argv or sys.argv[1:]
    register_all_modules()
    measuring = {"cost": measure_cost, "speed": measure_speed}[what]
    measuring(json.loads(Path(spec).read_text(encoding="utf-8")), Path(out))


if __name__ == "__main__":
    sys.exit(run_cli(main))
