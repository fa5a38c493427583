"""Filling a model from a checkpoint, all of it or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

from ctc_mm.errors import CheckpointError

SHOWN_CHARACTERS = 300


def load_all_weights(model: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Fill every parameter and buffer of ``model`` from a checkpoint.

    MMEngine's runner leaves what does not fit as it was, random, with a warning, and tests that.

    Args:
        model: filled in place; wrapped or not.
        checkpoint: a loaded file: its ``state_dict``, or a bare name -> tensor mapping.
        path: the file, for the message.

    Raises:
        CheckpointError: a weight is missing, has another shape, or belongs to no part of the model.
    """
    model = model.module if is_model_wrapper(model) else model
    weights = checkpoint.get("state_dict", checkpoint)
    try:
        model.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:SHOWN_CHARACTERS]
        raise CheckpointError(
            f"{path}: its weights do not fit the config; give the config it was trained with ({reason})"
        ) from error
