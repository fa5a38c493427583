"""Checkpoints read as weights only, by our own code and by every load path of MMEngine.

``TORCH_FORCE_WEIGHTS_ONLY_LOAD=1`` alone does not protect MMEngine 0.10.12: its loader adds ``getattr`` to torch's
allowed globals, with which a weights-only file reaches ``eval``; and ``Runner.resume`` runs the file's
``meta["config"]`` as Python. So the tools also put :func:`load_checkpoint_safely` behind MMEngine's
``CheckpointLoader``.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import CheckpointLoader

from ctc_mm.engine.weight_sources import locate_weights
from ctc_mm.errors import CheckpointError

FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
FORCE_PICKLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
TRUST_HINT = "if you trust whoever made the file, run the tool again with --trust-checkpoint"

ZIP_MAGIC = b"PK\x03\x04"
# torch.save before 1.6 (torchvision's VGG16 is such a file) starts with the pickled number 0x1950a86a20f9469cfc6c.
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

# Every prefix MMEngine knows; '' is the local file.
SCHEMES = (
    "",
    "http://",
    "https://",
    "modelzoo://",
    "torchvision://",
    "open-mmlab://",
    "openmmlab://",
    "mmcls://",
    "pavi://",
    r"(\S+\:)?s3://",
    r"(\S+\:)?petrel://",
)


class _SavedHistory(HistoryBuffer):
    """A logged scalar as a file may give it: numbers only; MMEngine's own lets a file replace the class's functions."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__class__ = HistoryBuffer
        self.max_length = int(state["max_length"])
        self._log_history = np.asarray(state["_log_history"])
        self._count_history = np.asarray(state["_count_history"])
        self._set_default_statistics()


def _history_statistic(owner: Any, name: str) -> Callable:
    """Stand for ``getattr`` in a file: ``HistoryBuffer`` saves its four statistics as attributes of the class."""
    if owner is not _SavedHistory or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"Unsupported getattr of {name!r} on {owner!r}")
    return getattr(HistoryBuffer, name)


def _safe_globals() -> list[Any]:
    """What MMEngine's own checkpoints hold beside tensors: logged scalars as NumPy numbers in ``HistoryBuffer``."""
    core = np._core if hasattr(np, "_core") else np.core
    number_codes = "?bBhHiIlLqQefd"
    allowed: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(code)) for code in number_codes}]
    allowed.append((_SavedHistory, f"{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}"))
    allowed.append((_history_statistic, "builtins.getattr"))
    for function in (core.multiarray._reconstruct, core.multiarray.scalar):
        # NumPy 1 and 2 write different module names; a file of either must load under the other.
        allowed += [(function, f"numpy{part}.multiarray.{function.__name__}") for part in (".core", "._core")]
    return allowed


def load_checkpoint_safely(
    path: str | Path, trust: bool = False, map_location: str | torch.device | Callable = "cpu"
) -> dict[str, Any]:
    """Load a checkpoint of torch or MMEngine without running code that it may contain.

    Args:
        path: a local file.
        trust: load by pickle, which runs whatever the file's author put in.
        map_location: as in ``torch.load``.

    Returns:
        The file's dictionary: ``state_dict``, ``meta``, ... of MMEngine, or a bare name -> tensor mapping. Without
        ``trust``, ``meta["config"]`` is left out (and this is logged): MMEngine would run it as Python on resume.

    Raises:
        CheckpointError: the file is missing, empty, cut short, no checkpoint, holds no weights, or needs pickle.
    """
    path = Path(path).expanduser()
    _check_is_torch_file(path)
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, trust, error)) from error
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, ImportError, IndexError) as error:
        raise CheckpointError(f"{path}: cannot be read, it is cut short or damaged: copy it again ({error})") from error
    state_dict_of(checkpoint, path)
    if not trust:
        _drop_runnable_config(checkpoint, path)
    return checkpoint


def state_dict_of(checkpoint: Any, path: str | Path) -> Mapping[str, torch.Tensor]:
    """The name -> tensor mapping of a loaded checkpoint: its ``state_dict``, or itself where it is bare.

    Raises:
        CheckpointError: there are no tensors in the place where MMEngine looks for them.
    """
    state_dict = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else checkpoint
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f"{path}: not a checkpoint, its weights are a {type(state_dict).__name__}, not a mapping")
    if not any(isinstance(value, torch.Tensor) for value in state_dict.values()):
        keys = ", ".join(map(str, list(state_dict)[:8])) or "nothing"
        raise CheckpointError(
            f"{path}: no weights found: expected tensors, or a `state_dict` of them, at the top level; found {keys}"
        )
    return state_dict


def use_safe_checkpoints(trust: bool = False) -> None:
    """Set this process up so that every checkpoint is read as weights only (call it first in each tool).

    Sets ``TORCH_FORCE_WEIGHTS_ONLY_LOAD=1`` and lets MMEngine's loader (``Runner.load_checkpoint``, ``load_from``,
    ``resume``, ``init_cfg`` of type Pretrained) go through :func:`load_checkpoint_safely` and
    :func:`ctc_mm.engine.weight_sources.locate_weights`.

    Args:
        trust: the opt-out, ``--trust-checkpoint``: files are loaded by pickle; the variable is taken away.
    """
    os.environ.pop(FORCE_PICKLE, None)
    if trust:
        os.environ.pop(FORCE_WEIGHTS_ONLY, None)
    else:
        os.environ[FORCE_WEIGHTS_ONLY] = "1"

    def load_from_weights_only(filename: str, map_location: Any = None) -> dict[str, Any]:
        checkpoint = load_checkpoint_safely(locate_weights(filename), trust, map_location or "cpu")
        return _backbone_only(checkpoint) if str(filename).startswith("mmcls://") else checkpoint

    CheckpointLoader.register_scheme(SCHEMES, load_from_weights_only, force=True)


def _check_is_torch_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        with path.open("rb") as file:
            head = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty: copy or download it again")
    if head.startswith(ZIP_MAGIC):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path}: the file is cut short: copy or download it again")
    elif head != LEGACY_MAGIC:
        raise CheckpointError(f"{path}: not a checkpoint: neither format of torch.save begins with {head[:8]!r}")


def _refusal(path: Path, trust: bool, error: Exception) -> str:
    if trust:
        forced = os.environ.get(FORCE_WEIGHTS_ONLY, "0").lower() in ("1", "y", "yes", "true")
        cure = f"unset {FORCE_WEIGHTS_ONLY}, which forbids pickle" if forced else "the file is damaged: copy it again"
        return f"{path}: cannot be unpickled: {cure} ({_reason(error)})"
    return (
        f"{path}: needs pickle, which can run code hidden in the file, and checkpoints are loaded with weights only "
        f"({_reason(error)}); {TRUST_HINT}"
    )


def _reason(error: Exception) -> str:
    """The line of torch on what was refused, without its advice to switch the protection off."""
    text = str(error)
    for marker in ("Trying to load", "WeightsUnpickler error:", "Unsupported"):
        if marker in text:
            return " ".join(text[text.index(marker) :].splitlines()[0].split(" Please use")[0].split())
    return " ".join(text.splitlines()[0].split()) if text else type(error).__name__


def _drop_runnable_config(checkpoint: dict[str, Any], path: Path) -> None:
    meta = checkpoint.get("meta")
    if isinstance(meta, dict) and meta.pop("config", None) is not None:
        print_log(f"{path}: left out meta['config'], which MMEngine would run as Python on resume", logger="current")


def _backbone_only(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """``mmcls://`` names a classifier and means its backbone, as in MMEngine's own loader."""
    state_dict = checkpoint.get("state_dict", checkpoint)
    prefix = "backbone."
    return {
        "state_dict": {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    }
