"""Engine: importing this package registers every hook, optimizer wrapper and tracker."""

from ctc_mm.engine import amp, hooks, tracking

__all__ = ["amp", "hooks", "tracking"]
