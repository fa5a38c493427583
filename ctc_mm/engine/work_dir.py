"""What lies in a training's folder."""

from __future__ import annotations

import re
from pathlib import Path

from mmengine.runner import find_latest_checkpoint

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.errors import CheckpointError

BEST_NAME = re.compile(r"best_.+_(?:epoch|iter)_(\d+)\.pth")


def best_checkpoint(work_dir: str | Path) -> Path | None:
    """The best weights by validation that ``CheckpointHook`` left in ``work_dir``; None if there are none yet.

    MMEngine removes the former best when it saves a better one. Where several lie there all the same (an earlier
    training's, or two metrics watched), the last checkpoint knows its own; else the latest is taken.
    """
    work_dir = Path(work_dir)
    found = {path.name: path for path in work_dir.glob("best_*.pth") if BEST_NAME.fullmatch(path.name)}
    if len(found) > 1 and (name := _best_by_last_checkpoint(work_dir)) in found:
        return found[name]
    return max(found.values(), key=lambda path: (int(BEST_NAME.fullmatch(path.name)[1]), path.name), default=None)


def _best_by_last_checkpoint(work_dir: Path) -> str | None:
    """Name of the best weights as the last checkpoint of a training notes it."""
    note = work_dir / "last_checkpoint"
    # By name alone: the folder may have been moved since.
    last = work_dir / Path(note.read_text(encoding="utf-8").strip()).name if note.is_file() else None
    if last is None or not last.is_file():
        return None
    known = load_checkpoint_safely(last).get("message_hub") or {}
    best = (known.get("runtime_info") or {}).get("best_ckpt")
    return Path(best).name if best else None


def require_last_checkpoint(work_dir: str | Path) -> Path:
    """The checkpoint from which a training in ``work_dir`` goes on.

    Raises:
        CheckpointError: there is none; MMEngine would start anew without a word.
    """
    work_dir = Path(work_dir)
    last = find_latest_checkpoint(str(work_dir)) if work_dir.is_dir() else None
    if last is None:
        raise CheckpointError(
            f"{work_dir}: no checkpoint to resume from in this folder. Give the folder of the interrupted training "
            "with --work-dir, or start anew without --resume."
        )
    if not Path(last).is_file():
        raise CheckpointError(
            f"{work_dir}: `last_checkpoint` names {last}, which is not there. Write the path of another checkpoint "
            "into that file, or start anew without --resume."
        )
    return Path(last)
