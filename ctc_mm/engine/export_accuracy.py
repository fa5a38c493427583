"""What an exported file costs in accuracy: tested beside the weights it was made of."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

from mmengine.config import Config

from ctc_mm.engine.testing import evaluate
from ctc_mm.errors import ConfigError


def figures_of_both(config: Config, checkpoint: str, trust: bool, path: Path, split: str) -> dict[str, float]:
    """What quantisation costs: the metric's figures of an exported file and of its weights.

    Args:
        config: of the model.
        checkpoint: its weights.
        trust: load them by pickle.
        path: the file.
        split: ``val`` or ``test`` of the config.

    Returns:
        For every figure of the metric its value for the file, and as ``<figure>, PyTorch`` for the weights.

    Raises:
        ConfigError: the config has no such split.
    """
    config = _testing_on(config, split)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, file in (("", path), (", PyTorch", checkpoint)):
            figures = evaluate(config, file, Path(folder) / Path(file).suffix[1:], trust, 0, other_images=True)
            found |= {f"{name}{suffix}": float(value) for name, value in figures.items()}
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
