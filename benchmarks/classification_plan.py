"""The runs of the classification benchmark: each is one call of tools/cross_validate.py on a shipped config."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT

from ctc_mm.formats.files import write_json

CONFIGS = "configs/classification"
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
DEPARRAY_SEEDS = tuple(range(5))
# Arm -> config and epochs. DAPI images as further samples make an epoch twice as long: with 10 of them an arm takes as
# many steps as bright field alone and sees each bright-field image half as often; with 20 it is the other way round.
DEPARRAY_ARMS = {
    "brightfield": ("light_brightfield", 20),
    "dapi": ("light_dapi", 10),
    "dapi_twice": ("light_dapi", 20),
    "distilled": ("light_distilled", 20),
}
IMFISH_FOLDED = ("cnn", "alexnet", "resnet18", "resnet50")
IMFISH_HELD_OUT = ("vgg16", "vgg19")
CULTURED = "label_free_cultured_to_patients"
RECORD = "run.json"


@dataclass(frozen=True)
class Run:
    """One cross-validation.

    Attributes:
        name: of its folder.
        config: below configs/classification.
        data: folder of the set, below that of the sets.
        options: of tools/cross_validate.py.
        values: changes of the config.
        weights: run whose first model's backbone this one starts from.
    """

    name: str
    config: str
    data: str
    options: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None

    def command(self, sets: Path, runs: Path) -> list[str]:
        """Words after ``python``."""
        values = {"data_root": f"{sets / self.data}", **single_process(), **self.values}
        if self.weights is not None:
            values["model.backbone.init_cfg.checkpoint"] = str(trained_weights(runs / self.weights))
        pairs = [f"{name}={value if isinstance(value, str) else repr(value)}" for name, value in values.items()]
        out = ["--out", f"{runs / self.name}", "--jobs", "1", "--threads", "1"]
        config = f"{CONFIGS}/{self.config}"
        options = [str(sets / word.removeprefix("@")) if word.startswith("@") else word for word in self.options]
        return ["tools/cross_validate.py", config, *options, *out, "--cfg-options", *pairs]


def single_process() -> dict[str, Any]:
    """Images are loaded in the training process: one core each run."""
    return {f"{loader}.{name}": value for loader in LOADERS for name, value in _WORKERS.items()}


_WORKERS = {"num_workers": 0, "persistent_workers": False}


def epochs(number: int) -> dict[str, int]:
    """Length of the training and of its cosine."""
    return {"train_cfg.max_epochs": number, "param_scheduler.1.T_max": number}


def bccd_runs() -> list[Run]:
    """WBC against the rest, three ways of cutting; as many WBC as a third of the others in each epoch."""
    rest = {f"{loader}.dataset.label_map": {"RBC": "rest", "Platelets": "rest"} for loader in LOADERS}
    sampler = {"train_dataloader.sampler": {"type": "ctc_mm.DownSampler", "ratio": 3}}
    values = {"classes": ("WBC", "rest"), **rest, **sampler, **epochs(5)}
    return [
        Run(f"bccd_{way}", "light_cells.py", f"bccd/{way}", ("--folds", "5", "--seed", "0"), values)
        for way in ("boxes", "grey", "fixed")
    ]


def imfish_runs() -> list[Run]:
    """Six networks from scratch: a fifth of the patients kept aside, 5 folds on the rest; VGGs on that split alone.

    Small batches, since 10 epochs of this fifth of the paper's cells are 60 steps of the configs' batches.
    """
    folded = ("--folds", "5", "--holdout", "0.2", "--seed", "0")
    once = ("--protocol", "holdout", "--holdout", "0.2", "--seed", "0")
    ways = [(net, folded) for net in IMFISH_FOLDED] + [(net, once) for net in IMFISH_HELD_OUT]
    values = {**epochs(10), "train_cfg.val_interval": 5, "train_dataloader.batch_size": 8}
    return [Run(f"imfish_{n}", f"imfish/{n}_scratch_64.py", "imfish/cells", way, values) for n, way in ways]


def deparray_runs() -> list[Run]:
    """Trained on bright field alone, and with DAPI; a set of its own for each seed, and that seed for the training."""
    runs = []
    for seed in DEPARRAY_SEEDS:
        options = ("--protocol", "holdout", "--holdout", "test", "--seed", str(seed))
        for arm, (config, length) in DEPARRAY_ARMS.items():
            data = f"deparray_{seed}/cells"
            runs.append(Run(f"deparray_{arm}_{seed}", f"deparray/{config}.py", data, options, epochs(length)))
    return runs


def label_free_runs() -> list[Run]:
    """95 cells of two patients: from cultured cells, with frozen features of these, and from scratch.

    With two patients, leaving one out is a transfer from the one to the other; the part that thresholds are chosen on
    is cut out of the fields of the one. No ImageNet weights: the backbone is trained on cultured cells.
    """
    frozen, length = "label_free/resnet50_frozen.py", {"train_cfg.max_epochs": 3}
    cultured, patients = "label_free/cultured/cells", "label_free/patients/cells"
    to_patients = ("--train-where", "split=train", "--test-data", f"@{patients}", "--from-scratch")
    by_cell = ("--folds", "5", "--ungrouped", "--seed", "0")
    by_field = ("--protocol", "transfer", "--group-key", "source", "--seed", "0")
    runs = [Run(CULTURED, frozen, cultured, (*by_field, *to_patients), length)]
    for way, options, weights in (("frozen", (), CULTURED), ("scratch", ("--from-scratch",), None)):
        runs.append(Run(f"label_free_{way}_by_cell", frozen, patients, (*by_cell, *options), length, weights))
        for train, test in (("P1", "P2"), ("P2", "P1")):
            where = ("--train-where", f"group={train}", "--test-where", f"group={test}")
            name = f"label_free_{way}_{train}_to_{test}"
            runs.append(Run(name, frozen, patients, (*by_field, *where, *options), length, weights))
    return runs


def trained_weights(run_dir: Path) -> Path:
    """Best weights of a run's first model.

    Raises:
        FileNotFoundError: the run has not been made.
    """
    from ctc_mm.engine.work_dir import best_checkpoint

    found = [best_checkpoint(folder) for folder in sorted(run_dir.glob("*/model"))]
    if not found or found[0] is None:
        raise FileNotFoundError(f"{run_dir}: holds no trained weights; run {run_dir.name} first")
    return found[0]


def all_runs() -> dict[str, Run]:
    """Every run by its name."""
    return {run.name: run for run in (*bccd_runs(), *deparray_runs(), *imfish_runs(), *label_free_runs())}


def execute(run: Run, sets: Path, runs: Path) -> float:
    """Run a cross-validation, or the rest of an interrupted one; processor seconds of all its processes in this call.

    A finished one is not repeated. Of one that was interrupted the seconds are noted to be those of the rest.

    Raises:
        RuntimeError: the command failed; its log is named.
    """
    record = runs / run.name / RECORD
    command = run.command(sets, runs)
    if record.is_file() and json.loads(record.read_text())["command"] == command:
        return json.loads(record.read_text())["processor_s"]
    log = runs / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    is_rest = (runs / run.name).exists()
    begin, used = time.monotonic(), _processor_s()
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{run.name} failed; see {log}")
    seconds = {"wall_s": round(time.monotonic() - begin, 1), "processor_s": round(_processor_s() - used, 1)}
    write_json(record, {"command": command, **seconds, "is_rest": is_rest})
    return seconds["processor_s"]


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def chosen(names: Sequence[str]) -> list[Run]:
    """Runs whose name begins with one of ``names``, in the order of these.

    Raises:
        ValueError: a name that no run begins with.
    """
    found: dict[str, Run] = {}
    for name in names:
        begun = {one: run for one, run in all_runs().items() if one.startswith(name)}
        if not begun:
            raise ValueError(f"no run begins with {name!r}; there are {', '.join(all_runs())}")
        found |= begun
    return list(found.values())
