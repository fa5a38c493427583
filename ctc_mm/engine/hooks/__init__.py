"""Hooks: importing this package registers every one."""

from ctc_mm.engine.hooks.channels_last_hook import ChannelsLastHook
from ctc_mm.engine.hooks.dropped_cells_hook import DroppedCellsHook
from ctc_mm.engine.hooks.early_stopping_hook import DelayedEarlyStoppingHook
from ctc_mm.engine.hooks.epoch_ema_hook import EpochEMAHook
from ctc_mm.engine.hooks.epoch_seed_hook import EpochSeedHook
from ctc_mm.engine.hooks.finished_epoch_hook import FinishedEpochHook
from ctc_mm.engine.hooks.freeze_backbone_hook import FreezeBackboneHook
from ctc_mm.engine.hooks.grad_cam_hook import GradCAMHook
from ctc_mm.engine.hooks.operating_point_hook import OperatingPointHook
from ctc_mm.engine.hooks.progress_hook import ProgressHook
from ctc_mm.engine.hooks.training_cost_hook import TrainingCostHook
from ctc_mm.engine.hooks.tsne_hook import TSNEHook
from ctc_mm.engine.hooks.validation_loss_hook import ValidationLossHook

__all__ = [
    "ChannelsLastHook",
    "DelayedEarlyStoppingHook",
    "DroppedCellsHook",
    "EpochEMAHook",
    "EpochSeedHook",
    "FinishedEpochHook",
    "FreezeBackboneHook",
    "GradCAMHook",
    "OperatingPointHook",
    "ProgressHook",
    "TSNEHook",
    "TrainingCostHook",
    "ValidationLossHook",
]
