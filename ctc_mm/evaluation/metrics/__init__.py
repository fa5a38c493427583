"""Registered metrics: thin shells over ``ctc_mm.evaluation.functional``."""

from ctc_mm.evaluation.metrics.ctc_binary_metric import CTCBinaryMetric
from ctc_mm.evaluation.metrics.ctc_det_metric import CTCDetMetric

__all__ = ["CTCBinaryMetric", "CTCDetMetric"]
