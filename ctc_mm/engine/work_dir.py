"""What lies in a training's folder."""

from __future__ import annotations

import re
from pathlib import Path


def best_checkpoint(work_dir: str | Path) -> Path | None:
    """The best weights by validation that ``CheckpointHook`` left in ``work_dir``; None if there are none yet.

    MMEngine removes the former best when it saves a better one, so the latest epoch is the best.
    """

    def epoch(path: Path) -> int:
        return int(re.search(r"_epoch_(\d+)\.pth$", path.name)[1])

    return max(Path(work_dir).glob("best_*_epoch_*.pth"), key=epoch, default=None)
