"""Hooks: importing this package registers every one."""

from ctc_mm.engine.hooks.early_stopping_hook import DelayedEarlyStoppingHook
from ctc_mm.engine.hooks.freeze_backbone_hook import FreezeBackboneHook

__all__ = ["DelayedEarlyStoppingHook", "FreezeBackboneHook"]
