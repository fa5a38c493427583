"""Layers that the models share."""

from ctc_mm.models.layers.cbam import CBAM

__all__ = ["CBAM"]
