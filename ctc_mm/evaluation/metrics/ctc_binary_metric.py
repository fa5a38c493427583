"""Classification metric of ctc_mm: the target class (CTC) against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.binary_evaluation import BinaryOptions, choose_point, evaluate_binary, flat_values
from ctc_mm.evaluation.binary_report import ReportContext, write_binary_report
from ctc_mm.evaluation.classification_point import KIND, ClassificationPoint
from ctc_mm.evaluation.metrics.evaluated_cells import EvaluatedCell, evaluated_cell, predictions_of, without_repeats
from ctc_mm.evaluation.operating_point import publish_operating_point
from ctc_mm.evaluation.predictions import Predictions, sorted_predictions
from ctc_mm.registry import METRICS


@METRICS.register_module()
class CTCBinaryMetric(BaseMetric):
    """Sensitivity, specificity, precision, F1, AUC, calibration and operating points of a cell classifier.

    The target is the class named by the data set's ``metainfo['target']``, else class 0; with more than two classes it
    stands against all others together. Its score is the softmax probability. A cell is called target if its score is
    >= the threshold.

    Values (prefix ``ctc/``), NaN where undefined (one class absent):

    - ``AUC``, ``AP`` (scikit-learn's, not interpolated);
    - ``sensitivity``, ``specificity``, ``precision``, ``F1``, ``F1_macro``, ``accuracy``, ``balanced_accuracy`` at 0.5;
    - ``log_loss``, ``balanced_log_loss`` (mean over the classes present; always defined, so ``save_best`` can rely on
      it), ``ECE``;
    - ``sensitivity@youden``, ``specificity@..``, ``precision@..``, ``F1@..`` and ``threshold@..`` at each operating
      point: ``youden``, ``wanted_sensitivity``, ``wanted_fpr``;
    - ``ECE_calibrated``, ``temperature``;
    - ``size_AUC``, ``size_F1``: the size-only baseline, larger = target.

    Args:
        out_dir: where the files go; None writes nothing.
        operating_point: ``'auto'`` chooses thresholds, temperature and size threshold on these cells and publishes them
            (validation); a dict (``ctc_mm.evaluation.operating_point``) applies those chosen before, unchanged (test);
            None does neither: rates at 0.5 only. ``'auto'`` does not choose where all cells have the split ``test``.
        wanted_sensitivity, wanted_fpr: what the rules of these names ask for.
        wbc_per_ml: leukocytes per mL of blood that reach the classifier: about 5e6 in whole blood, what is left of them
            after enrichment. Expected false CTC per mL = false-positive rate x this.
        confidence: of every interval.
        n_resamples: of the bootstrap by group; it runs only where files are written.
        seed: of the bootstrap.
        n_bins: of the reliability curve.
        gallery: at most so many misjudged cells of either kind are drawn; ``predictions.csv`` has them all.
        collect_device, prefix, collect_dir: see ``mmengine.evaluator.BaseMetric``.

    Raises:
        ConfigError: an option out of range; classes, target, truth or scores missing in the data.

    Example::

        val_evaluator = dict(type='ctc_mm.CTCBinaryMetric')
        test_evaluator = dict(type='ctc_mm.CTCBinaryMetric', operating_point=None)
        default_hooks = dict(checkpoint=dict(save_best='ctc/balanced_log_loss', rule='less'))
        custom_hooks = [dict(type='ctc_mm.OperatingPointHook')]
    """

    default_prefix = "ctc"

    def __init__(
        self,
        out_dir: str | Path | None = None,
        operating_point: str | Mapping[str, Any] | None = "auto",
        wanted_sensitivity: float = 0.95,
        wanted_fpr: float = 0.01,
        wbc_per_ml: float = 5e6,
        confidence: float = 0.95,
        n_resamples: int = 2000,
        seed: int = 0,
        n_bins: int = 10,
        gallery: int = 60,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.out_dir = None if out_dir is None else Path(out_dir)
        try:
            self.options = BinaryOptions(
                wanted_sensitivity, wanted_fpr, wbc_per_ml, confidence, n_resamples, seed, n_bins, gallery
            )
        except ValueError as error:
            raise ConfigError(f"CTCBinaryMetric: {error}") from error
        self.chooses = operating_point == "auto"
        self.frozen = None if self.chooses or operating_point is None else _read_point(operating_point)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep scores, truth and origin of each sample as plain values."""
        self.results.extend(evaluated_cell(sample) for sample in data_samples)

    def compute_metrics(self, results: list[EvaluatedCell]) -> dict[str, float]:
        """Evaluate all cells, publish the operating point, write the files.

        Returns:
            The flat values listed above.
        """
        if not results:
            raise ConfigError("CTCBinaryMetric: no cell was evaluated; the data set of this evaluation is empty")
        logger = MMLogger.get_current_instance()
        classes, target = self._classes_and_target()
        records, n_repeats = without_repeats(results)
        if n_repeats:
            logger.info(f"{n_repeats} samples came twice (the sampler fills up batches); each counts once")
        # Sorted: sums then do not depend on how the cells were dealt out to batches and processes.
        predictions = sorted_predictions(predictions_of(records, classes, target))
        point = self._point(predictions, records, target, logger)
        result = evaluate_binary(predictions, point, self.options)
        if self.out_dir is not None:
            context = ReportContext(classes, target, self.chooses, n_repeats, self.options)
            written, problems = write_binary_report(self.out_dir, result, context)
            for path in written:
                logger.info(f"wrote {path}")
            for problem in problems:
                logger.warning(f"not in the gallery of misjudged cells: {problem}")
        return flat_values(result)

    def _point(
        self, predictions: Predictions, records: Sequence[EvaluatedCell], target: str, logger: MMLogger
    ) -> ClassificationPoint | None:
        if not self.chooses:
            if self.frozen is not None and self.frozen.target != target:
                raise ConfigError(
                    f"CTCBinaryMetric: the operating point was chosen for the target {self.frozen.target!r}, the data "
                    f"set's is {target!r}; choose it again on a validation set of this target"
                )
            return self.frozen
        # All of them: a cross-validation over the whole table may validate on cells that the table calls test.
        if all(record.split == "test" for record in records):
            logger.warning("all cells are of split 'test': no operating point is chosen on them, rates are at 0.5 only")
            publish_operating_point(None)
            return None
        point = choose_point(predictions, target, self.options)
        publish_operating_point(point)
        for rule, reason in point.reasons.items():
            logger.warning(f"no threshold by the rule {rule!r}: {reason}")
        return point

    def _classes_and_target(self) -> tuple[tuple[str, ...], str]:
        meta = self.dataset_meta or {}
        classes = meta.get("classes") or ()
        classes = (classes,) if isinstance(classes, str) else tuple(classes)
        if len(classes) < 2:
            raise ConfigError(
                "CTCBinaryMetric: the data set's metainfo needs at least two `classes`, the target first, such as "
                f"`metainfo=dict(classes=('CTC', 'WBC'))`. Received: {classes}"
            )
        target = meta.get("target") or classes[0]
        if target not in classes:
            raise ConfigError(
                f"CTCBinaryMetric: the target {target!r} is none of the classes {classes}; fix `metainfo`"
            )
        return classes, target


def _read_point(content: str | Mapping[str, Any]) -> ClassificationPoint:
    try:
        if not isinstance(content, Mapping) or content.get("kind") != KIND:
            raise ValueError(f"it must be a dict with kind={KIND!r}. Received: {content!r}")
        return ClassificationPoint.from_dict(content)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"CTCBinaryMetric: `operating_point` must be 'auto', None or a point chosen on validation: {error}"
        ) from error
