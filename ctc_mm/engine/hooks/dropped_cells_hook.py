"""Says how many cells the augmentation left out, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class DroppedCellsHook(Hook):
    """Sums what ``CTCDetDataset`` notes in each sample and logs it (reading 11: dropped and counted).

    ::

        custom_hooks = [dict(type='ctc_mm.DroppedCellsHook')]

    Data sets that note nothing are passed over.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Start at zero."""
        self.cells = self.dropped = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Add the samples of this batch."""
        samples = data_batch.get("data_samples", ()) if isinstance(data_batch, Mapping) else ()
        for sample in samples:
            self.cells += sample.metainfo.get("cells_before_transforms", 0)
            self.dropped += sample.metainfo.get("dropped_cells", 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the sums over all processes."""
        sums = torch.tensor([self.dropped, self.cells], device=next(runner.model.parameters()).device)
        all_reduce(sums)
        dropped, cells = sums.tolist()
        if cells:
            runner.logger.info(f"augmentation left out {dropped} of {cells} cells in epoch {runner.epoch + 1}.")
