"""Engine: importing this package registers every hook."""

from ctc_mm.engine import hooks

__all__ = ["hooks"]
