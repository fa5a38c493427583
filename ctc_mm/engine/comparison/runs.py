"""The trainings of a comparison: a folder for each config and seed, with what is in it checked before it is used."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

import ctc_mm
from ctc_mm.engine.comparison.contestants import Contestant
from ctc_mm.engine.comparison.data import DataReader, SharedData, require_same
from ctc_mm.engine.runs.identity import differences, testing_identity, training_identity
from ctc_mm.engine.runs.processes import LOCK_FILE
from ctc_mm.engine.runs.run_config import digest_text, run_config, write_config
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.evaluation.detection_records import FORMAT as RECORDS_FORMAT
from ctc_mm.evaluation.detection_records import RECORDS_FILE
from ctc_mm.evaluation.operating_point import DETECTION, metric_kind
from ctc_mm.formats.files import write_json

RUNS, MEASUREMENTS, PLAN_FILE, NOTE_FILE = "runs", "measurements", "plan.json", "run.json"
FORMAT = "ctc_mm comparison 1"
CURE = "Give another folder with --out, or --again to delete the runs of these configs and start anew."
LEARNED_ON = ("train", "val")  # val chooses weights and thresholds


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        contestant: name of its config.
        seed: of the training; of weights that were given, their number.
        folder: where it lies.
        digests: by which a finished one is known again.
    """

    contestant: str
    seed: int
    folder: RunFolder
    digests: Mapping[str, str]

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.contestant}, seed {self.seed}"

    @property
    def checkpoint(self) -> Path:
        """The weights that were tested; the run is finished, and somebody may have deleted them since."""
        return self.folder.path / self.folder.done()["checkpoint"]


def take_folder(out_dir: Path, contestants: Sequence[Contestant], data: SharedData, again: bool) -> None:
    """Make ``out_dir`` the folder of this comparison, going on with what it holds on the same data.

    Args:
        out_dir: locked.
        contestants: of this comparison; a folder may hold more.
        data: of this comparison.
        again: delete former runs of these configs.

    Raises:
        ConfigError: the folder holds something else, or results on other data.
    """
    if again:
        _delete_runs(out_dir, [one.name for one in contestants])
    path = out_dir / PLAN_FILE
    if path.is_file():
        _require_same_data(path, data)
    elif not (out_dir / RUNS).is_dir():
        others = sorted(one.name for one in out_dir.iterdir() if one.name != LOCK_FILE)
        if others:
            raise ConfigError(
                f"{out_dir}: holds other files ({', '.join(others[:5])}), no comparison; give a new --out"
            )
    write_json(path, {"format": FORMAT, "ctc_mm": ctc_mm.__version__, "data": data.to_json()})


def _require_same_data(path: Path, data: SharedData) -> None:
    now = data.to_json()
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
        if former["format"] != FORMAT:
            raise ConfigError(f"{path}: was written by another version; give another folder with --out")
        known = former["data"]
        digests = {part: known["parts"][part]["digest"] for part in now["parts"]}
        tasks = {name: known[name] for name in ("classes", "target")}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: damaged ({type(error).__name__}: {error}). Delete this file: each run keeps a note of its own of "
            "what it was trained on"
        ) from error
    for name, task in tasks.items():
        if task != now[name]:
            raise ConfigError(f"{path}: holds results for {name} {task}, this run has {now[name]}. {CURE}")
    for part, content in now["parts"].items():
        if digests[part] != content["digest"]:
            raise ConfigError(
                f"{path}: holds results on other {part} data: {known['parts'][part]}; {data.parts[part].where} now "
                f"holds {content}. Results of different data are not put into one table. {CURE}"
            )


def _delete_runs(out_dir: Path, names: Sequence[str]) -> None:
    """Remove what a comparison has written for these configs, and nothing else."""
    for folder in (one for name in names for one in (out_dir / RUNS / name).glob("seed_*")):
        if (folder / "config.py").is_file():
            shutil.rmtree(folder)
    left = list((out_dir / RUNS).glob("*/seed_*/config.py"))
    if not left:
        (out_dir / PLAN_FILE).unlink(missing_ok=True)
    shutil.rmtree(out_dir / MEASUREMENTS, ignore_errors=True)


def prepare_run(
    contestant: Contestant, index: int, seed: int, out_dir: Path, data: SharedData, reader: DataReader
) -> Run:
    """Write config and note of a run, after a look at what its folder holds already.

    Args:
        contestant: what is trained.
        index: number of the training.
        seed: of it.
        out_dir: of the comparison.
        data: of the comparison.
        reader: of data.

    Raises:
        ConfigError: the folder holds a training with another config or on other data, or no metric of ctc_mm tests.
    """
    folder = RunFolder(out_dir.resolve() / RUNS / contestant.name / f"seed_{seed}")
    made = config_of_run(contestant.config, seed, folder)
    identity = training_identity(made)
    if contestant.given:
        weights = contestant.given[index]
        _take_weights(folder, weights)
        source = {"weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    else:
        _require_same_training(folder, identity, data, reader)
        source = {"training": digest_text(identity)}
        note = {"format": FORMAT, "identity": identity, "data": {part: data.digests[part] for part in LEARNED_ON}}
        write_json(folder.path / NOTE_FILE, note)
    write_config(folder.config, made)
    tested = [made.model.to_dict(), testing_identity(made), RECORDS_FORMAT]
    digests = {**source, "testing": digest_text(tested), **data.digests}
    return Run(contestant.name, seed, folder, digests)


def config_of_run(config: Config, seed: int, folder: RunFolder) -> Config:
    """The config of one run: with its seed, what records its cost, and what keeps its predictions.

    Raises:
        ConfigError: no ``ctc_mm.CTCDetMetric`` tests it, so that there are no thresholds and figures to compare.
    """
    made = run_config(config, seed, folder.model)
    made.custom_hooks = [*made.custom_hooks, dict(type="ctc_mm.TrainingCostHook")]
    evaluator = made.test_evaluator
    metrics = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    for part in ("val", "test"):
        tested = made.get(f"{part}_evaluator")
        if not any(metric_kind(one) == DETECTION for one in (tested if isinstance(tested, list | tuple) else [tested])):
            raise ConfigError(f"the config has no ctc_mm.CTCDetMetric in `{part}_evaluator`: add dict(type=...) there")
    made.test_evaluator = [
        *metrics,
        dict(type="ctc_mm.DetectionRecordMetric", out_file=str(folder.test / RECORDS_FILE)),
    ]
    return made


def _take_weights(folder: RunFolder, weights: Path) -> None:
    """Let a run test weights that were trained elsewhere."""
    if folder.model.exists():
        raise ConfigError(f"{folder.path}: holds a training of its own, and --trained gives {weights} for it. {CURE}")
    content: dict[str, Any] = {"checkpoint": str(weights), "given": True}
    if folder.trained() != content:
        write_json(folder.trained_mark, content)


def _require_same_training(
    folder: RunFolder, identity: Mapping[str, str], data: SharedData, reader: DataReader
) -> None:
    """What a folder holds of a former training must be what would be trained now."""
    if (folder.trained() or {}).get("given"):
        given = folder.trained()["checkpoint"]
        raise ConfigError(f"{folder.path}: was tested with {given}; give it again with --trained. {CURE}")
    if not folder.model.is_dir():
        return
    former, digests = _former(folder, data, reader)
    changed = differences(former, identity)
    if changed:
        raise ConfigError(f"{folder.path}: was trained with another config: {changed}. {CURE}")
    for part in LEARNED_ON:
        if digests[part] != data.digests[part]:
            raise ConfigError(
                f"{folder.path}: was trained on other {part} data (digest {digests[part][:12]}) than "
                f"{data.parts[part].where} now holds (digest {data.digests[part][:12]}). {CURE}"
            )


def _former(folder: RunFolder, data: SharedData, reader: DataReader) -> tuple[dict[str, str], dict[str, str]]:
    """Config and data of the training that a folder holds; where no comparison has noted them, by its config file."""
    note = folder.path / NOTE_FILE
    if note.is_file():
        try:
            content = json.loads(note.read_text(encoding="utf-8"))
            return dict(content["identity"]), {part: content["data"][part] for part in LEARNED_ON}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{note}: damaged ({type(error).__name__}: {error}). Delete this file: what was trained is then known "
                "by config.py beside it"
            ) from error
    if not folder.config.is_file():
        raise ConfigError(f"{folder.path}: holds a training without its config.py, so it cannot be told what. {CURE}")
    config = Config.fromfile(folder.config)
    read = reader(config, str(folder.config))
    return training_identity(config), {part: read[part].digest for part in LEARNED_ON}


def check_given(contestants: Sequence[Contestant], data: SharedData, reader: DataReader) -> tuple[str, ...]:
    """Look at what given weights were trained on, as far as their folders tell.

    Returns:
        What the reader of the table has to know.

    Raises:
        ConfigError: they were trained on other data, or for other classes.
    """
    unknown = []
    for one in contestants:
        for weights, config in zip(one.given, one.given_configs, strict=True):
            try:
                read = None if config is None else reader(config, f"the config beside {weights}")
            except (AnnotationError, ImageReadError) as error:  # a training elsewhere, or of long ago
                unknown.append(f"{one.name}: what {weights.name} was trained on is not there to be compared ({error})")
                continue
            if read is None:
                unknown.append(f"{one.name}: {weights.name} has no config beside it; what it was trained on is unknown")
                continue
            for part in LEARNED_ON:
                require_same(data.parts[part], read[part], part, "this comparison", f"the training of {weights}")
    return tuple(unknown)
