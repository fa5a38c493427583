"""Cross-validation of any config: divide, check, train and test every fold, sum up."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ctc_mm.cli import progress
from ctc_mm.datasets.split_files import write_split_file
from ctc_mm.engine.cross_validation.cell_summary import binary_options
from ctc_mm.engine.cross_validation.leaks import check_leaks
from ctc_mm.engine.cross_validation.options import CrossValidationOptions
from ctc_mm.engine.cross_validation.plan import PlannedFold, plan_json, take_folder
from ctc_mm.engine.cross_validation.protocols import Study, divide, fold_split, whole_test_split
from ctc_mm.engine.cross_validation.section import shown_spread
from ctc_mm.engine.cross_validation.sources import Source, source_of
from ctc_mm.engine.cross_validation.summary import RunFacts, summarise
from ctc_mm.engine.cross_validation.units import digest_units
from ctc_mm.engine.runs.board import Board
from ctc_mm.engine.runs.processes import Children, only_run_in, training_environment
from ctc_mm.engine.runs.run_all import run_all
from ctc_mm.engine.runs.run_config import config_identity, digest_text, planned_epochs, run_config, write_config
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.engine.runs.single_run import RunCommands, RunOutcome
from ctc_mm.engine.setup import set_data_root
from ctc_mm.errors import ConfigError, CTCError
from ctc_mm.evaluation.functional.spread import Spread
from ctc_mm.formats.files import write_json

WARNINGS_FILE = "warnings.json"


class FoldsFailedError(CTCError, RuntimeError):
    """Folds that did not come to their end; the others did, and are summed up."""


@dataclass(frozen=True)
class CrossValidationResult:
    """What a run has given.

    Attributes:
        out_dir: folder of the run.
        summary: content of ``summary.json``.
        outcomes: how each fold ended, in order.
    """

    out_dir: Path
    summary: Mapping[str, Any]
    outcomes: tuple[RunOutcome, ...]

    def lines(self, most: int = 12) -> list[str]:
        """Mean and SD of the first figures, for a terminal."""
        shown = list((self.summary.get("values") or {}).items())[:most]
        spreads = (
            (name, Spread(_or_nan(one["mean"]), _or_nan(one["sd"]), one["folds"], one["undefined_folds"]))
            for name, one in shown
        )
        return [f"{name:28s} {shown_spread(spread)}" for name, spread in spreads]


def cross_validate(
    config: Config,
    out_dir: str | Path,
    options: CrossValidationOptions | None = None,
    *,
    name: str = "config",
    jobs: int = 1,
    threads: int | None = None,
    again: bool = False,
    commands: RunCommands | None = None,
) -> CrossValidationResult:
    """Train and test a config on every fold of its data, and sum the folds up.

    Each fold is trained and tested by ``tools/train.py`` and ``tools/test.py``, in processes and a folder of its own:
    an interrupted fold goes on from its last checkpoint, a finished one is not repeated. Thresholds, temperature and
    best weights come from the fold's validation part; its test part is only tested (imfish-cnn-2022, statistical
    analysis; label-free-resnet-2020, Fig. 5; readings 6, 18 and 25).

    Args:
        config: detection or classification, as :func:`ctc_mm.engine.setup.load_config` gives it.
        out_dir: gets ``fold_<k>/`` (``config.py``, ``split.json``, ``model/``, ``test/``, ``done.json``) and the
            summary: ``summary.json``, tables as CSV, pictures, ``report.html`` and ``report.md``.
        options: protocol, folds, groups; default: five folds, grouped by ``group``.
        name: of the config, for the report.
        jobs: folds that run at the same time.
        threads: of each process; None: the cores divided by ``jobs``. Another number rounds sums another way.
        again: delete a former run in ``out_dir``.
        commands: that train and test.

    Raises:
        ConfigError: config, data and protocol do not fit, the leak check fails, or ``out_dir`` holds another run.
        AnnotationError, ImageReadError: the data cannot be used.
        FoldsFailedError: folds failed; the summary of the others is written.
    """
    if jobs < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"--jobs and --threads must be 1 or more. Received: {jobs}, {threads}")
    out_dir, commands = Path(out_dir), commands or RunCommands()
    study = _study(config, options or CrossValidationOptions())
    with only_run_in(out_dir) as lock:
        digests = _take_folder(config, study, out_dir, name, again)
        folders = {fold: RunFolder(out_dir / fold) for fold in digests}
        waiting = [fold for fold in study.division.folds if not folders[fold.name].is_done(digests[fold.name])]
        told = _warnings(out_dir, study) if waiting else _read_warnings(out_dir)
        for fold in waiting:
            prepare_fold(config, fold, folders[fold.name], study)
        children = Children(training_environment(jobs, threads), lock)
        outcomes = _run_all(folders, digests, children, commands, jobs, planned_epochs(config))
        summary = summarise(out_dir, RunFacts(name, study, folders, told, outcomes, binary_options(config)))
    _require_all(outcomes, out_dir)
    return CrossValidationResult(out_dir, summary, outcomes)


def _study(config: Config, options: CrossValidationOptions) -> Study:
    """Read the data and divide them."""
    source, other = source_of(config), _other_source(config, options)
    seed = int((config.get("randomness") or {}).get("seed") or 0)
    return Study(options, source, other, divide(source, options, seed, other))


def _take_folder(config: Config, study: Study, out_dir: Path, name: str, again: bool) -> dict[str, dict[str, str]]:
    """Make ``out_dir`` this run's; the digests of config, data and split by which each fold is known."""
    data = digest_text([digest_units(one.units) for one in (study.source, study.other) if one is not None])
    splits = {fold.name: digest_text(fold.to_json()) for fold in study.division.folds}
    identity = config_identity(config)
    take_folder(out_dir, plan_json(identity, study.options.identity, data, splits, name), again)
    of_run = {"config": digest_text(identity), "data": data}
    return {fold: {**of_run, "split": split} for fold, split in splits.items()}


def _warnings(out_dir: Path, study: Study) -> list[str]:
    """Check for leaks; tell what the division and the check warn of, and keep it for the report."""
    leaks = check_leaks(study, progress)
    told = [*study.division.warnings, *([leaks] if leaks else [])]
    for warning in told:
        print_log(warning, logger="current", level=logging.WARNING)
    write_json(out_dir / WARNINGS_FILE, told)
    return told


def _read_warnings(out_dir: Path) -> list[str]:
    """What a run that is finished was warned of: its pictures are not compared again."""
    path = out_dir / WARNINGS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _other_source(config: Config, options: CrossValidationOptions) -> Source | None:
    if not options.test_data:
        return None
    if not Path(options.test_data).is_dir():
        raise ConfigError(f"--test-data {options.test_data}: no such folder; it is laid out as the config's data_root")
    elsewhere = Config(config.to_dict())
    set_data_root(elsewhere, options.test_data)
    return source_of(elsewhere)


def prepare_fold(config: Config, fold: PlannedFold, folder: RunFolder, study: Study) -> None:
    """Write config, split and data of a fold.

    Args:
        config: of the run.
        fold: what it trains on and tests.
        folder: where it lies.
        study: data and division of the run.
    """
    made = run_config(config, fold.seed, folder.model)
    source, other = study.source, study.other
    split = fold_split(fold, study.division.group_of, study.group_key, elsewhere=other is not None)
    write_split_file(folder.split, split)
    for part in ("train", "val"):
        source.use(made, part, fold.ids.part(part), folder.split, folder.path)
    if other is None:
        source.use(made, "test", fold.ids.test, folder.split, folder.path)
    else:
        elsewhere = Config(dict(test_dataloader=made.test_dataloader))
        set_data_root(elsewhere, study.options.test_data)
        made.test_dataloader = elsewhere.test_dataloader
        split_path = folder.path / "test_split.json"
        write_split_file(split_path, whole_test_split(fold.ids.test, other.aside, fold.seed))
        other.use(made, "test", fold.ids.test, split_path, folder.path)
    write_config(folder.config, made)


def _run_all(
    folders: Mapping[str, RunFolder],
    digests: Mapping[str, Mapping[str, str]],
    children: Children,
    commands: RunCommands,
    jobs: int,
    epochs: int | None,
) -> tuple[RunOutcome, ...]:
    board = Board(folders, dict.fromkeys(folders, epochs), "folds")
    return run_all(folders, digests, children, dict.fromkeys(folders, commands), jobs, board)


def _require_all(outcomes: tuple[RunOutcome, ...], out_dir: Path) -> None:
    failed = [outcome for outcome in outcomes if outcome.problem]
    if failed:
        listed = "\n".join(f"{outcome.name}: {outcome.problem}" for outcome in failed)
        raise FoldsFailedError(
            f"{len(failed)} of {len(outcomes)} folds failed; the others are done and summed up in {out_dir}. Mend the "
            f"cause and run the same command again: only these are repeated.\n{listed}"
        )
