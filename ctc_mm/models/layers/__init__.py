"""Layers that the models share."""

from ctc_mm.models.layers.cbam import CBAM
from ctc_mm.models.layers.initialisation import SEPARABLE_INIT

__all__ = ["CBAM", "SEPARABLE_INIT"]
