"""Learning curves: MMEngine's scalars of each training by epoch, and their mean over folds or seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.functional.spread import mean_sd

SCALARS_FILE = "scalars.json"
LOSS = "loss"
VALIDATION_PREFIX = "ctc/"
# One figure of each kind is drawn; the table holds all.
DRAWN_FIRST = ("ctc/AUC", "ctc/balanced_log_loss", "ctc/mAP50")
Curve = dict[int, float]


@dataclass(frozen=True)
class MeanCurve:
    """A value by epoch, over folds.

    Attributes:
        epochs: that at least one fold has.
        mean: over the folds where it is defined; NaN where none is.
        sd: n - 1; NaN for fewer than two.
        n: folds where it is defined.
    """

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    n: tuple[int, ...]


def read_curves(model_dir: Path) -> dict[str, Curve]:
    """Values by epoch from what MMEngine logged in a training's folder.

    The training loss is the last mean that was logged in an epoch; validation figures stand at the epoch after which
    they were measured. A resumed training has a log for each start: from the epoch with which a later one begins, the
    earlier ones no longer hold, nor do they where the folder was trained in anew.

    Args:
        model_dir: work dir of a training.

    Raises:
        ConfigError: a log that is no text, or a line with something else than numbers.
    """
    curves: dict[str, Curve] = {}
    for path in sorted(model_dir.glob(f"*/vis_data/{SCALARS_FILE}")):
        own = _read_log(path)
        epochs = own.get(LOSS) or {epoch: 0.0 for curve in own.values() for epoch in curve}
        begin = min(epochs, default=math.inf)
        for name in {**curves, **own}:
            before = {epoch: value for epoch, value in curves.get(name, {}).items() if epoch < begin}
            curves[name] = before | own.get(name, {})
    return {name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}


def _read_log(path: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for number, line in _lines(path):
        try:
            if LOSS in line and line.get("epoch") is not None:
                curves.setdefault(LOSS, {})[int(line["epoch"])] = float(line[LOSS])
            for name, value in line.items():
                if name.startswith(VALIDATION_PREFIX) and isinstance(value, int | float):
                    curves.setdefault(name, {})[int(line["step"])] = float(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}: line {number} is damaged ({error}); remove the line") from error
    return curves


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text, so no log of MMEngine; remove it, or leave this folder out") from error
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:  # the last line of a training that was killed
            continue
        if isinstance(line, dict) and "step" in line:
            yield number, line


def mean_curves(folds: Sequence[Mapping[str, Curve]]) -> dict[str, MeanCurve]:
    """Average each value over folds, epoch by epoch.

    A fold that stopped early is missing from later epochs; ``n`` says how many there are.

    Args:
        folds: see ``read_curves``.
    """
    names = sorted({name for fold in folds for name in fold}, key=lambda name: (name != LOSS, name))
    means = {}
    for name in names:
        epochs = tuple(sorted({epoch for fold in folds for epoch in fold.get(name, {})}))
        spreads = [mean_sd([fold[name][epoch] for fold in folds if epoch in fold.get(name, {})]) for epoch in epochs]
        columns = (tuple(getattr(one, column) for one in spreads) for column in ("mean", "sd", "n"))
        means[name] = MeanCurve(epochs, *columns)
    return means


def curves_csv(folds: Mapping[str, Mapping[str, Curve]], means: Mapping[str, MeanCurve]) -> str:
    """``name,epoch,mean,sd,n`` and a column for each fold; empty where undefined."""
    rows = [",".join(["name", "epoch", "mean", "sd", "n", *folds])]
    for name, curve in means.items():
        for place, epoch in enumerate(curve.epochs):
            own = [fold.get(name, {}).get(epoch, math.nan) for fold in folds.values()]
            numbers = [curve.mean[place], curve.sd[place]]
            cells = [*map(_number, numbers), str(curve.n[place]), *map(_number, own)]
            rows.append(",".join([name, str(epoch), *cells]))
    return "\n".join(rows) + "\n"


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def drawn_names(means: Mapping[str, MeanCurve]) -> list[str]:
    """Curves worth a picture: the loss, and the validation figures that choose weights and sum up a model."""
    wanted = [LOSS, *DRAWN_FIRST]
    return [name for name in wanted if name in means and np.isfinite(means[name].mean).any()]
