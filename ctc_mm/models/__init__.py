"""Models: importing this package registers every part of it."""

from ctc_mm.models import backbones, classifiers, dense_heads, necks

__all__ = ["backbones", "classifiers", "dense_heads", "necks"]
