"""Models: importing this package registers every part of it."""

from ctc_mm.models import backbones, dense_heads, necks

__all__ = ["backbones", "dense_heads", "necks"]
