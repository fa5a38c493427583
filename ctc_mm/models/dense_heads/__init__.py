"""Heads: from feature maps to boxes."""

from ctc_mm.models.dense_heads.ctc_ssd_head import CTCSSDHead
from ctc_mm.models.dense_heads.efficientdet_head import EfficientDetHead

__all__ = ["CTCSSDHead", "EfficientDetHead"]
