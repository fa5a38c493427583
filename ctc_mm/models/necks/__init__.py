"""Necks: what stands between backbone and head."""

from ctc_mm.models.necks.bifpn import BiFPN
from ctc_mm.models.necks.cbam_neck import CBAMNeck
from ctc_mm.models.necks.pool_flatten import PoolFlatten
from ctc_mm.models.necks.transposed_conv_fusion_neck import TransposedConvFusionNeck

__all__ = ["BiFPN", "CBAMNeck", "PoolFlatten", "TransposedConvFusionNeck"]
