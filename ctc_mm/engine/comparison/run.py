"""Comparison of detectors: check, train, test, measure, and write one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctc_mm.engine.comparison.contestants import Contestant, budget_warnings
from ctc_mm.engine.comparison.data import DataReader, shared_data
from ctc_mm.engine.comparison.figures import bootstrap_results, machine_warnings, read_results
from ctc_mm.engine.comparison.measurements import measure
from ctc_mm.engine.comparison.options import ComparisonOptions
from ctc_mm.engine.comparison.runs import Run, check_given, prepare_run, take_folder
from ctc_mm.engine.comparison.table import ComparisonFacts, write_table
from ctc_mm.engine.cross_validation.section import shown_spread
from ctc_mm.engine.runs.board import Board
from ctc_mm.engine.runs.processes import Children, only_run_in, terminate_as_interrupt, training_environment
from ctc_mm.engine.runs.run_all import run_all
from ctc_mm.engine.runs.run_config import planned_epochs
from ctc_mm.engine.runs.single_run import RunCommands, RunOutcome
from ctc_mm.errors import ConfigError, CTCError
from ctc_mm.evaluation.functional.spread import mean_sd


class RunsFailedError(CTCError, RuntimeError):
    """Trainings, tests or measurements that did not come to their end; the table holds the others."""


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison has given.

    Attributes:
        out_dir: its folder.
        content: of ``comparison.json``.
        outcomes: how each run ended.
    """

    out_dir: Path
    content: Mapping[str, Any]
    outcomes: tuple[RunOutcome, ...]

    def lines(self) -> list[str]:
        """Mean and SD of each model's mAP50 and F1, for a terminal."""
        told = []
        for row in self.content["models"]:
            values = {name: mean_sd(row["figures"].get(name, {}).get("values", [])) for name in ("mAP50", "f1@frozen")}
            told.append(
                f"{row['name']:40s} " + "  ".join(f"{name} {shown_spread(one)}" for name, one in values.items())
            )
        return told


def compare(
    contestants: Sequence[Contestant],
    out_dir: str | Path,
    options: ComparisonOptions | None = None,
    commands: RunCommands | None = None,
) -> ComparisonResult:
    """Train and test every config with every seed, measure it, and write one table.

    Each run is trained and tested by ``tools/train.py`` and ``tools/test.py``, in processes and a folder of its own:
    an interrupted one goes on from its last checkpoint, a finished one is not repeated, one that fails leaves the
    others alone. Data are known by digest: results on different images, labels or splits never meet in a table.

    Source: ssd-attention-fusion-2022, Tables 1 and 2.

    Args:
        contestants: see :func:`ctc_mm.engine.comparison.contestants.read_contestants`; rows of the table, in order.
        out_dir: gets ``runs/<config>/seed_<k>/``, ``measurements/`` and ``comparison.md``, ``.csv``, ``.png``,
            ``.json``.
        options: seeds, machine, intervals.
        commands: that train and test.

    Raises:
        ConfigError: the configs differ in data or classes, or ``out_dir`` holds results of other data or configs.
        AnnotationError, ImageReadError: the data cannot be used.
        RunsFailedError: something failed; the table of the others is written.
    """
    options, out_dir = options or ComparisonOptions(), Path(out_dir)
    commands = commands or RunCommands(options.trust, options.other_images)
    baseline = _baseline(contestants, options.baseline)
    environment = _environment(options)
    reader = DataReader()
    data = shared_data({one.name: one.config for one in contestants}, reader)
    warnings = [*data.warnings, *budget_warnings(contestants), *check_given(contestants, data, reader)]
    with only_run_in(out_dir) as lock, terminate_as_interrupt():
        take_folder(out_dir, contestants, data, options.again)
        runs = [
            prepare_run(one, index, seed, out_dir, data, reader)
            for one in contestants
            for index, seed in enumerate(one.seeds(options.seeds))
        ]
        children = Children(environment, lock)
        outcomes = _run(contestants, runs, children, commands, options)
        finished = [run for run, outcome in zip(runs, outcomes, strict=True) if not outcome.problem]
        costs, speed, problems = measure(finished, out_dir, children, options)
        results = read_results(finished, data)
        warnings += machine_warnings(results)
        intervals = bootstrap_results(results, baseline, options.resamples, options.resample_seed)
        facts = ComparisonFacts(
            tuple(one.name for one in contestants), baseline, data, runs, outcomes, warnings, options
        )
        content = write_table(out_dir, facts, results, intervals, costs, speed, problems)
    _require_all(outcomes, problems, out_dir)
    return ComparisonResult(out_dir, content, outcomes)


def _baseline(contestants: Sequence[Contestant], wanted: str | None) -> str:
    names = [one.name for one in contestants]
    if wanted is not None and wanted not in names:
        raise ConfigError(f"--baseline {wanted}: none of the configs has this name. There are: {', '.join(names)}")
    return wanted or names[0]


def _environment(options: ComparisonOptions) -> dict[str, str]:
    """Of every process: its share of the cores, and no GPU where none is to be used."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no GPU here; leave it out, or see whether torch has CUDA")
    environment = training_environment(options.jobs, options.threads)
    return environment | ({"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {})


def _run(
    contestants: Sequence[Contestant],
    runs: Sequence[Run],
    children: Children,
    commands: RunCommands,
    options: ComparisonOptions,
) -> tuple[RunOutcome, ...]:
    """Train and test seed by seed, so that one that is stopped has the first seeds of all: ``seeds`` asks for these."""
    epochs = {one.name: planned_epochs(one.config) for one in contestants}
    first_seeds_first = sorted(runs, key=lambda run: run.seed)
    folders = {run.name: run.folder for run in first_seeds_first}
    digests = {run.name: run.digests for run in runs}
    board = Board(folders, {run.name: epochs[run.contestant] for run in runs})
    outcomes = run_all(folders, digests, children, dict.fromkeys(folders, commands), options.jobs, board)
    by_name = {outcome.name: outcome for outcome in outcomes}
    return tuple(by_name[run.name] for run in runs)


def _require_all(outcomes: Sequence[RunOutcome], problems: Sequence[str], out_dir: Path) -> None:
    failed = [f"{outcome.name}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    if failed or problems:
        raise RunsFailedError(
            f"{len(failed)} of {len(outcomes)} runs and {len(problems)} measurements failed; the table of what stands "
            f"is in {out_dir}. Mend the cause and run the same command again: only these are repeated.\n"
            + "\n".join([*failed, *problems])
        )
