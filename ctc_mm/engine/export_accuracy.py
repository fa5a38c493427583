"""What an exported file costs in accuracy: tested beside the weights it was made of."""

from __future__ import annotations

import copy
import tempfile
from math import isnan
from pathlib import Path

from mmengine.config import Config

from ctc_mm.engine.testing import evaluate
from ctc_mm.errors import ConfigError


def figures_of_both(
    config: Config, checkpoint: str, trust: bool, path: Path, split: str
) -> dict[str, dict[str, float | None]]:
    """What quantisation costs: the metric's figures of an exported file and of its weights.

    Args:
        config: of the model.
        checkpoint: its weights.
        trust: load them by pickle.
        path: the file.
        split: ``val`` or ``test`` of the config.

    Returns:
        For every figure of the metric its value of the ``file`` and of the weights (``pytorch``); None: undefined.

    Raises:
        ConfigError: the config has no such split.
    """
    config, found = _testing_on(config, split), {}
    with tempfile.TemporaryDirectory() as folder:
        for side, file in (("file", path), ("pytorch", checkpoint)):
            figures = evaluate(config, file, Path(folder) / side, trust, 0, other_images=True)
            for name, value in figures.items():
                found.setdefault(name, {"file": None, "pytorch": None})[side] = None if isnan(value) else float(value)
    return dict(sorted(found.items()))


def _testing_on(config: Config, split: str) -> Config:
    """A copy of ``config`` whose test set is the split."""
    if config.get(f"{split}_dataloader") is None or config.get(f"{split}_evaluator") is None:
        raise ConfigError(
            f"{config.filename or 'the config'}: has no {split}_dataloader and {split}_evaluator to check with"
        )
    config = copy.deepcopy(config)
    config.test_dataloader, config.test_evaluator = config[f"{split}_dataloader"], config[f"{split}_evaluator"]
    return config
