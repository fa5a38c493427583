"""Trainings found under the folders that a user names, told apart by model and seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ctc_mm.engine.curves.learning_curves import LOSS, SCALARS_FILE, Curve, read_curves
from ctc_mm.engine.hooks.validation_loss_hook import VALIDATION_LOSS
from ctc_mm.engine.runs.identity import TRAINING_KEYS
from ctc_mm.engine.runs.run_config import config_identity
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.output import csv_text

# Folders of a run that name no model: runs/<model>/seed_<k>/model.
_SEED = re.compile(r"(?:^|_)seed_?\d+$")
_INNER = "model"
# What may differ between two seeds of one model, beside what does not train at all (tests, logs, names).
_OF_A_RUN = ("randomness.seed", "load_from")
DEFAULT_NAMES = (LOSS, VALIDATION_LOSS, "ctc/mAP50", "ctc/mAP", "ctc/AUC", "ctc/balanced_log_loss")


@dataclass(frozen=True)
class TrainedRun:
    """One training.

    Attributes:
        model: name of what was trained, the same for all its seeds.
        run: name of this training, without that of the model where there is nothing to add.
        folder: its work dir.
        curves: see ``read_curves``.
    """

    model: str
    run: str
    folder: Path
    curves: Mapping[str, Curve]


def find_runs(places: Sequence[str]) -> list[TrainedRun]:
    """Read every training in or under the folders given, in their order.

    Args:
        places: work dirs or folders that hold some, each also as ``NAME=FOLDER`` to name the model.

    Raises:
        ConfigError: a folder is missing or holds no log of a training, or a training is named twice.
    """
    runs: dict[Path, TrainedRun] = {}
    for place in places:
        name, equals, folder = place.partition("=")
        root = Path(folder if equals and not Path(place).exists() else place)
        if equals and not (name and folder) and root != Path(place):
            raise ConfigError(f"{place!r}: NAME=WORK_DIR takes both a name and a folder")
        given = name if root != Path(place) else None
        if not root.is_dir():
            raise ConfigError(f"{root}: no such folder. Give the work dir of a training (work_dirs/<config>).")
        found = [(one, read_curves(one)) for one in _work_dirs(root)]
        found = [(one, curves) for one, curves in found if curves]
        if not found:
            raise ConfigError(
                f"{root}: no {SCALARS_FILE} with a training's losses in it or under it. Give the work dir of a "
                "training; MMEngine writes <work dir>/<time>/vis_data/scalars.json where the config's visualizer has "
                "dict(type='LocalVisBackend')."
            )
        for one, curves in found:
            model, run = names_of(one)
            if one.resolve() in runs:
                raise ConfigError(f"{one}: named twice, by {place!r} and another; leave one out")
            runs[one.resolve()] = TrainedRun(given or model, run, one, curves)
    return list(runs.values())


def _work_dirs(root: Path) -> list[Path]:
    return sorted({path.parents[2] for path in root.glob(f"**/vis_data/{SCALARS_FILE}")})


def names_of(folder: Path) -> tuple[str, str]:
    """Names of the model and of the run, from a work dir's place: ``ssd/seed_1/model`` -> ``ssd``, ``seed_1``."""
    parts = [part for part in folder.resolve().parts if part != _INNER]
    last = parts[-1]
    if _SEED.fullmatch(last):
        return parts[-2], last
    seed = _SEED.search(last)
    return (last[: seed.start()], seed[0].lstrip("_")) if seed else (last, "")


def by_model(runs: Sequence[TrainedRun]) -> dict[str, list[TrainedRun]]:
    """Trainings by model, in the order in which they came, for curves that are averaged over seeds.

    Raises:
        ConfigError: trainings of one name whose configs differ by more than the seed.
    """
    models: dict[str, list[TrainedRun]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    for name, members in models.items():
        identities = [_identity(one.folder) for one in members]
        for member, identity in zip(members[1:], identities[1:], strict=True):
            _require_equal(name, (members[0].folder, identities[0]), (member.folder, identity))
    return models


def _identity(folder: Path) -> dict[str, str]:
    """What was trained, by the config that MMEngine left in the work dir; empty where there is none."""
    configs = sorted(folder.glob("*.py"))
    if not configs:
        return {}
    config = Config.fromfile(configs[0], import_custom_modules=False)
    values = config_identity(Config({name: config[name] for name in TRAINING_KEYS if name in config}))
    return {key: value for key, value in values.items() if key not in _OF_A_RUN}


def _require_equal(name: str, first: tuple[Path, dict], other: tuple[Path, dict]) -> None:
    if not first[1] or not other[1] or first[1] == other[1]:
        return
    keys = sorted({*first[1], *other[1]})
    key = next(key for key in keys if first[1].get(key) != other[1].get(key))
    raise ConfigError(
        f"{name}: {first[0]} and {other[0]} are no two seeds of one training, since `{key}` is "
        f"{first[1].get(key, 'missing')} in one and {other[1].get(key, 'missing')} in the other. Name them apart "
        "(NAME=FOLDER), or leave --average out."
    )


def chosen_names(runs: Sequence[TrainedRun], wanted: Sequence[str] | None) -> list[str]:
    """Curves to draw: those asked for, else losses and the figures that sum up a model.

    Raises:
        ConfigError: a curve that no training has.
    """
    known = {name for run in runs for name in run.curves}
    if wanted is None:
        return [name for name in DEFAULT_NAMES if name in known]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ConfigError(f"no training has a curve {', '.join(missing)}. There are: {', '.join(sorted(known))}.")
    return list(wanted)


def runs_csv(runs: Sequence[TrainedRun]) -> str:
    """Every curve of every training as ``model,run,name,epoch,value``; undefined values are empty."""
    rows = [
        (run.model, run.run, name, epoch, value)
        for run in runs
        for name, curve in sorted(run.curves.items())
        for epoch, value in curve.items()
    ]
    return csv_text(("model", "run", "name", "epoch", "value"), rows)
