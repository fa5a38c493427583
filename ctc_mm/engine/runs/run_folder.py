"""The folder of one training and its test: what lies in it, and how far it has come."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.runner import find_latest_checkpoint

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.hooks.finished_epoch_hook import NOTE_FILE
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import CheckpointError
from ctc_mm.formats.files import atomic_write_text, write_json


@dataclass(frozen=True)
class RunFolder:
    """``config.py``, ``split.json``, ``data/``, ``model/``, ``test/``, two logs, and marks of what is finished."""

    path: Path

    @property
    def config(self) -> Path:
        """Config of this run alone, as ``tools/train.py`` and ``tools/test.py`` take it."""
        return self.path / "config.py"

    @property
    def split(self) -> Path:
        """Split file of this run alone."""
        return self.path / "split.json"

    @property
    def model(self) -> Path:
        """Weights and logs of the training."""
        return self.path / "model"

    @property
    def test(self) -> Path:
        """Results of the test."""
        return self.path / "test"

    @property
    def train_log(self) -> Path:
        """What the training printed."""
        return self.path / "train.log"

    @property
    def test_log(self) -> Path:
        """What the test printed."""
        return self.path / "test.log"

    @property
    def trained_mark(self) -> Path:
        """There once the training has ended by itself: which weights to test."""
        return self.path / "trained.json"

    @property
    def done_mark(self) -> Path:
        """There once the test has ended too."""
        return self.path / "done.json"

    @property
    def finished_epochs(self) -> int:
        """Epochs trained and validated so far (``FinishedEpochHook``)."""
        note = self.model / NOTE_FILE
        return int(note.read_text(encoding="utf-8")) if note.is_file() else 0

    def is_done(self, digests: Mapping[str, str]) -> bool:
        """Whether this run is finished, with this config, split and data."""
        return self.done_mark.is_file() and _read(self.done_mark).get("digests") == dict(digests)

    def done(self) -> dict[str, Any]:
        """Content of ``done.json``."""
        return _read(self.done_mark)

    def trained(self) -> dict[str, Any] | None:
        """Content of ``trained.json``, if the weights that it names are still there."""
        if not self.trained_mark.is_file():
            return None
        content = _read(self.trained_mark)
        return content if (self.path / content.get("checkpoint", "")).is_file() else None

    def mark_trained(self, seconds: float, resumed: bool) -> dict[str, Any]:
        """Note the end of the training.

        Raises:
            CheckpointError: it left no weights.
        """
        best = best_checkpoint(self.model)
        last = find_latest_checkpoint(str(self.model))
        if best is None and (last is None or not Path(last).is_file()):
            raise CheckpointError(
                f"{self.model}: the training left no weights; keep a CheckpointHook in `default_hooks.checkpoint`"
            )
        chosen = best or Path(last)
        content = {
            "checkpoint": chosen.relative_to(self.path).as_posix() if chosen.is_relative_to(self.path) else str(chosen),
            "best_by_validation": best is not None,
            "train_seconds": round(seconds, 2),
            "resumed": resumed,
        }
        write_json(self.trained_mark, content)
        return content

    def clear(self) -> None:
        """Forget training and test."""
        for mark in (self.done_mark, self.trained_mark, self.train_log, self.test_log):
            mark.unlink(missing_ok=True)
        for folder in (self.test, self.model):
            shutil.rmtree(folder, ignore_errors=True)


def resume_point(model_dir: Path) -> tuple[Path | None, str]:
    """Checkpoint from which an interrupted training can go on, or None and why not.

    It is the checkpoint of the last epoch that is finished with its validation (``FinishedEpochHook``), and becomes the
    one that MMEngine resumes from; an epoch that was trained but not validated is done again. A kill can hit the moment
    in which MMEngine replaces the best weights (it removes the former ones first): a training that went on from there
    could end without the best weights it believes to have, so it starts anew.

    Args:
        model_dir: work dir of the training.
    """
    if not model_dir.is_dir():
        return None, ""
    last = _last_finished(model_dir)
    if last is None:
        return None, "it had finished no epoch of which a checkpoint is left"
    try:
        hub = load_checkpoint_safely(last).get("message_hub") or {}
    except CheckpointError as error:
        return None, f"its checkpoint cannot be read ({error})"
    info = hub.get("runtime_info") or {}
    recorded = {Path(value).name for key, value in info.items() if key.startswith("best_ckpt") and value}
    if not all(zipfile.is_zipfile(model_dir / name) for name in recorded):
        return None, "it was killed while it replaced its best weights"
    for path in model_dir.glob("best_*.pth"):
        if path.name not in recorded:  # of the epoch that is done again, or half written
            path.unlink()
    atomic_write_text(model_dir / "last_checkpoint", str(last.resolve()))
    return last, ""


def _last_finished(model_dir: Path) -> Path | None:
    """The last checkpoint of a finished epoch; of a training by iterations, which notes none, the last one."""
    note = model_dir / NOTE_FILE
    if note.is_file():
        finished = int(note.read_text(encoding="utf-8"))
        # Not every epoch has one (checkpoint.interval), and that of an epoch broken off does not count.
        found = {int(path.stem.removeprefix("epoch_")): path for path in model_dir.glob("epoch_[0-9]*.pth")}
        last = max((epoch for epoch in found if epoch <= finished), default=None)
        return None if last is None else found[last]
    saved = find_latest_checkpoint(str(model_dir))
    path = model_dir / Path(saved).name if saved else None
    return path if path is not None and path.is_file() and path.name.startswith("iter_") else None


def _read(path: Path) -> dict[str, Any]:
    """Content of one of our marks; they are written whole, so what cannot be read is not ours and counts as nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
