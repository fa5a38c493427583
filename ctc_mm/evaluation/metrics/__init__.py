"""Registered metrics: thin shells over ``ctc_mm.evaluation.functional``."""

from ctc_mm.evaluation.metrics.ctc_binary_metric import CTCBinaryMetric
from ctc_mm.evaluation.metrics.ctc_det_metric import CTCDetMetric
from ctc_mm.evaluation.metrics.detection_record_metric import DetectionRecordMetric

__all__ = ["CTCBinaryMetric", "CTCDetMetric", "DetectionRecordMetric"]
