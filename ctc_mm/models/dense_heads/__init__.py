"""Heads: from feature maps to boxes."""

from ctc_mm.models.dense_heads.ctc_ssd_head import CTCSSDHead

__all__ = ["CTCSSDHead"]
