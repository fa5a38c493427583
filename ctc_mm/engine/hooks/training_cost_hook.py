"""What a training has cost: time on the clock, processor time, memory; summed over interruptions."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

import ctc_mm
from ctc_mm.evaluation.memory import MIB, peak_mib
from ctc_mm.formats.files import write_json
from ctc_mm.registry import HOOKS

COST_FILE = "training_cost.json"


@HOOKS.register_module()
class TrainingCostHook(Hook):
    """Write ``<work_dir>/training_cost.json`` after every epoch, validations in between included.

    ``epochs``; ``wall_s`` and ``cpu_s`` (all threads, and the loaders' processes once they have ended), summed over the
    parts of a training that was resumed, of each up to its last finished epoch; ``peak_memory_mib`` of the process
    (resident set; null on Windows, which does not tell) and ``peak_gpu_memory_mib`` (allocated by torch; null without a
    GPU); ``device``, ``threads``, ``processes`` and the versions of ``torch`` and ``ctc_mm``. Figures are those of the
    main process. ``complete`` says whether every part was measured: a training that was begun without this hook has no
    cost.

    Example::

        custom_hooks = [dict(type='ctc_mm.TrainingCostHook')]
    """

    priority = "LOWEST"  # after validation and checkpoints of the epoch

    def __init__(self) -> None:
        self._before: dict[str, Any] = dict(wall_s=0.0, cpu_s=0.0, peak_memory_mib=None, peak_gpu_memory_mib=None)
        self._complete = True

    def before_train(self, runner: Runner) -> None:
        """Take up what earlier parts of the training have cost."""
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        path = Path(runner.work_dir) / COST_FILE
        if not runner.epoch:
            return
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        # An epoch that is done again was paid for twice: the costs stay.
        self._complete = bool(before.get("complete")) and before["epochs"] >= runner.epoch
        self._before = {name: before.get(name, value) for name, value in self._before.items()}

    def before_train_epoch(self, runner: Runner) -> None:
        """Write the costs up to here, the validation of the epoch before included."""
        if runner.epoch:
            self._write(runner)

    def after_train(self, runner: Runner) -> None:
        """Write the costs of all."""
        self._write(runner)

    def _write(self, runner: Runner) -> None:
        if not is_main_process():
            return
        before, on_gpu = self._before, torch.cuda.is_available()
        gpu = torch.cuda.max_memory_allocated() / MIB if on_gpu else None
        cost = {
            "epochs": runner.epoch,
            "wall_s": round(before["wall_s"] + time.monotonic() - self._wall, 2),
            "cpu_s": round(before["cpu_s"] + _cpu_seconds() - self._cpu, 2),
            "peak_memory_mib": _larger(before["peak_memory_mib"], peak_mib()),
            "peak_gpu_memory_mib": _larger(before["peak_gpu_memory_mib"], gpu),
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
            "processes": get_world_size(),
            "torch": torch.__version__,
            "ctc_mm": ctc_mm.__version__,
            "complete": self._complete,
        }
        write_json(Path(runner.work_dir) / COST_FILE, cost)


def _cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _larger(*values: float | None) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return round(max(known), 1) if known else None
