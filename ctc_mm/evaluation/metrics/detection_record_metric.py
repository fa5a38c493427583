"""Keeps what a detector found in each image, for comparisons made later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.detection_records import DetectionRecords, write_records
from ctc_mm.evaluation.functional import ImageRecord
from ctc_mm.evaluation.metrics.ctc_det_metric import image_record
from ctc_mm.registry import METRICS


@METRICS.register_module()
class DetectionRecordMetric(BaseMetric):
    """Write predictions and truth of every image to one ``.npz``; it measures nothing.

    See :mod:`ctc_mm.evaluation.detection_records`. ``tools/compare.py`` adds it to the tests that it makes, and draws
    their images anew to say how sure a difference is.

    Args:
        out_file: where they go.
        collect_device, prefix, collect_dir: see ``mmengine.evaluator.BaseMetric``.

    Example::

        test_evaluator = [dict(type='ctc_mm.CTCDetMetric'),
                          dict(type='ctc_mm.DetectionRecordMetric', out_file='detections.npz')]
    """

    default_prefix = "ctc"

    def __init__(
        self,
        out_file: str | Path,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.out_file = Path(out_file)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep boxes, scores, labels and group of each sample."""
        self.results.extend((image_record(sample), str(sample.get("group") or "")) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[ImageRecord, str]]) -> dict[str, float]:
        """Write the file.

        Returns:
            No values.

        Raises:
            ConfigError: no image, or no classes.
        """
        classes = (self.dataset_meta or {}).get("classes") or ()
        if not results or not classes:
            raise ConfigError("DetectionRecordMetric: no image was tested, or the data set's metainfo has no `classes`")
        images, groups = zip(*results, strict=True)
        write_records(self.out_file, DetectionRecords(images, groups, tuple(classes)))
        MMLogger.get_current_instance().info(f"wrote {self.out_file}")
        return {}
