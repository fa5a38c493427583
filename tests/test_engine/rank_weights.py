"""For several processes: each keeps its weights at the end of the training."""

from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class KeepRankWeights(Hook):
    """Writes rank<n>.pth beside the work dir after the training, and the indices each rank drew in its last epoch."""

    priority = "LOWEST"

    def before_train_epoch(self, runner):
        self.drawn = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.drawn += [sample.cell_id for sample in data_batch["data_samples"]]

    def after_train(self, runner):
        model = getattr(runner.model, "module", runner.model)
        content = {"state_dict": model.state_dict(), "drawn": self.drawn}
        torch.save(content, Path(runner.work_dir).parent / f"rank{get_rank()}.pth")
