"""The detectors of a comparison: their configs as they will be trained, and weights that were trained before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.compatibility import DETECTOR, check_checkpoint, kind_of_config
from ctc_mm.engine.pretrained import require_pretrained_weights
from ctc_mm.engine.runs.run_config import planned_epochs
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.training_options import apply_training_options
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.explain.trained import build_trained_model

NEEDED = (
    "model", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "optim_wrapper", "test_evaluator",
)  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """One row of the table.

    Attributes:
        name: of its config's file.
        config: as it is trained, seed apart.
        given: weights that were trained before, one a training; empty: it is trained here.
        given_configs: configs that ``given`` were trained with, as far as they lie beside the weights.
    """

    name: str
    config: Config
    given: tuple[Path, ...] = ()
    given_configs: tuple[Config | None, ...] = ()

    def seeds(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Numbers of its trainings: the seeds, or the given weights counted through."""
        return tuple(range(len(self.given))) if self.given else tuple(seeds)

    @property
    def budgets(self) -> tuple[str, ...]:
        """How much its trainings see, as far as configs tell: epochs, batch, wrappers of the training set."""
        configs = self.given_configs if self.given else (self.config,)
        return tuple(dict.fromkeys(map(_budget, configs)))


def budget_warnings(contestants: Sequence[Contestant]) -> tuple[str, ...]:
    """What the reader has to know where trainings differ in how much they see."""
    of_budget: dict[str, list[str]] = {}
    for one in contestants:
        for budget in one.budgets:
            of_budget.setdefault(budget, []).append(one.name)
    if len(of_budget) < 2:
        return ()
    told = "; ".join(f"{', '.join(names)}: {budget}" for budget, names in of_budget.items())
    return (f"trainings differ in how much they see ({told})",)


def _budget(config: Config | None) -> str:
    if config is None or not (config.get("train_cfg") and config.get("train_dataloader")):
        return "an unknown budget"
    loader, epochs = config.train_dataloader, planned_epochs(config)
    length = f"{config.train_cfg.get('max_iters')} iterations" if epochs is None else f"{epochs} epochs"
    words = [f"{length} of batch {loader.get('batch_size')}"]
    dataset = loader.dataset
    while inner := dataset.get("dataset"):  # ``RepeatDataset`` and the like
        given = ", ".join(f"{key}={value!r}" for key, value in dataset.items() if key not in ("type", "dataset"))
        words.append(f"{dataset.get('type')}({given})")
        dataset = inner
    return ", ".join(words)


def read_contestants(
    paths: Sequence[str | Path],
    options: Mapping[str, Any] | None = None,
    training: Mapping[str, bool] | None = None,
    trained: Mapping[str, Sequence[Path]] | None = None,
    trust: bool = False,
) -> tuple[Contestant, ...]:
    """Read the configs of a comparison, all changed alike.

    Args:
        paths: config files, in the order of the table's rows.
        options: ``--cfg-options``.
        training: see ``apply_training_options``.
        trained: weights or work dirs by config name.
        trust: as in :func:`ctc_mm.engine.checkpoint.load_checkpoint_safely`.

    Raises:
        ConfigError: two configs of one name, a config that is not a detector's or trains no epoch, or weights for a
            name that is none.
        CheckpointError: weights, pretrained or given, that cannot be found or read, or given ones of another model.
    """
    names = [Path(path).stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"configs go by the names of their files, and several are called {', '.join(twice)}: rename")
    trained = dict(trained or {})
    unknown = sorted(set(trained) - set(names))
    if unknown:
        raise ConfigError(f"--trained {unknown[0]}=...: none of the configs has this name. There are: {names}")
    register_all_modules()
    found = []
    for name, path in zip(names, paths, strict=True):
        config = load_config(path, options)
        if kind_of_config(config) != DETECTOR:
            raise ConfigError(
                f"{path}: is a classifier's config; tools/compare.py compares detectors. Compare classifiers by their "
                "cross-validations on the same folds (tools/cross_validate.py, one run each with the same --seed)."
            )
        missing = [key for key in NEEDED if not config.get(key)]
        if missing:
            raise ConfigError(
                f"{path}: has no {', '.join(missing)}; a detector is compared from training to test. Give a whole "
                "config, such as those in configs/compare/"
            )
        epochs = planned_epochs(config)
        if epochs is not None and (not isinstance(epochs, int) or epochs < 1):
            raise ConfigError(
                f"{path}: train_cfg.max_epochs must be a whole number of at least 1 (--epochs). Received: {epochs!r}"
            )
        config = apply_training_options(config, **(training or {}))
        given = tuple(weights_in(one) for one in trained.get(name, ()))
        for weights in given:  # what cannot be tested is found before hours of training the others
            checkpoint = load_checkpoint_safely(weights, trust)
            check_checkpoint(checkpoint, config, weights)
            build_trained_model(config, checkpoint, weights)
        if not given:
            require_pretrained_weights(config.model, trust)
        found.append(Contestant(name, config, given, tuple(config_beside(one) for one in given)))
    return tuple(found)


def weights_in(path: Path) -> Path:
    """The weights of a training: the file itself, or the best (else the last) in its folder.

    Raises:
        CheckpointError: the folder holds none.
    """
    if path.is_file():
        return path.resolve()
    best = best_checkpoint(path)
    last = find_latest_checkpoint(str(path))
    if best is None and (last is None or not Path(last).is_file()):
        raise CheckpointError(f"{path}: holds no weights; give the folder of a finished training, or a file (.pth)")
    return (best or Path(last)).resolve()


def config_beside(checkpoint: Path) -> Config | None:
    """The config that MMEngine wrote into the folder of these weights; None where there is none, or several."""
    found = sorted(checkpoint.parent.glob("*.py"))
    return Config.fromfile(found[0]) if len(found) == 1 else None
