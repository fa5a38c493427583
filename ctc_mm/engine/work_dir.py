"""What lies in a training's folder."""

from __future__ import annotations

import re
from pathlib import Path

from mmengine.runner import find_latest_checkpoint

from ctc_mm.errors import CheckpointError


def best_checkpoint(work_dir: str | Path) -> Path | None:
    """The best weights by validation that ``CheckpointHook`` left in ``work_dir``; None if there are none yet.

    MMEngine removes the former best when it saves a better one, so the latest epoch is the best.
    """

    def epoch(path: Path) -> int:
        return int(re.search(r"_epoch_(\d+)\.pth$", path.name)[1])

    return max(Path(work_dir).glob("best_*_epoch_*.pth"), key=epoch, default=None)


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
