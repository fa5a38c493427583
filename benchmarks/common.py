"""What the benchmarks share: ratios of interleaved runs, clocks, peak memory, the machine, Markdown."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctc_mm.cpu import tune_cpu
from ctc_mm.evaluation.memory import MIB as MIB
from ctc_mm.evaluation.memory import peak_memory_mib as peak_memory_mib
from ctc_mm.evaluation.memory import peak_mib as peak_mib
from ctc_mm.evaluation.memory import resident_mib as resident_mib

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles (a mean would follow the outliers of a shared machine)."""

    median: float
    quartile1: float
    quartile3: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Quartiles:
        """Those of ``values``, linearly interpolated.

        Raises:
            ValueError: there are no values.
        """
        values = list(values)
        if not values:
            raise ValueError("quartiles need at least one value. Received: none")
        quartile1, median, quartile3 = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, quartile1, quartile3)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.quartile1:.3f}-{self.quartile3:.3f})"


def ratios(values: Sequence[float], baseline: Sequence[float]) -> Quartiles:
    """Quartiles of ``values[i] / baseline[i]``: each round is compared with itself, so a slow one slows both.

    Raises:
        ValueError: no round, another number of rounds, or a baseline that is not above 0.
    """
    if len(values) != len(baseline) or min(baseline, default=0) <= 0:
        raise ValueError(
            "ratios need as many values as baseline values, at least one, and a baseline above 0. "
            f"Received: {list(values)} and {list(baseline)}"
        )
    return Quartiles.of(value / base for value, base in zip(values, baseline, strict=True))


def in_turn(names: Sequence[str], round_index: int) -> list[str]:
    """``names``, begun at another one each round, so that none always follows the same other."""
    start = round_index % len(names)
    return [*names[start:], *names[:start]]


def clock(run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Wall-clock and processor seconds (all threads) of one run; a GPU is waited for on both sides."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda _: None)
    wait(device)
    wall_s, processor_s = time.perf_counter(), time.process_time()
    run()
    wait(device)
    return time.perf_counter() - wall_s, time.process_time() - processor_s


def start(threads: int | None) -> None:
    """Set up as the tools do, silence notes below a warning, and set torch's number of threads; before torch."""
    tune_cpu()
    import torch
    from mmengine.logging import MMLogger

    from ctc_mm.engine.setup import register_all_modules

    if threads is not None:
        torch.set_num_threads(threads)
    MMLogger.get_instance("mmengine", log_level="WARNING")
    register_all_modules()


def config_from_scratch(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, with ``--cfg-options``, and leave pretrained weights out: speed does not depend on values."""
    from ctc_mm.engine.pretrained import train_from_scratch
    from ctc_mm.engine.setup import load_config

    return train_from_scratch(load_config(path, options))


def parameters_m(model: torch.nn.Module) -> float:
    """Number of parameters in millions."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def machine(device: torch.device) -> dict[str, Any]:
    """What a result depends on beside the code."""
    import torch

    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        # Above the number of cores, other programs had their share of the time.
        "load_average_at_end": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown: the first column to the left, the others to the right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
