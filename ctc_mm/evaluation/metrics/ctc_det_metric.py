"""Detection metric of ctc_mm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.coco_eval import CocoScores, evaluate_coco
from ctc_mm.evaluation.functional import DetectionSummary, ImageRecord, summarise_detection
from ctc_mm.evaluation.operating_point import (
    OperatingPoint,
    choose_operating_point,
    publish_operating_point,
)
from ctc_mm.evaluation.report import metrics_json, per_iou_json, write_report
from ctc_mm.registry import METRICS

TRUTH_HELP = (
    "the evaluated samples carry no truth. Put `dict(type='LoadAnnotations', with_bbox=True)` AFTER the resize and "
    "before `PackDetInputs` in the val/test pipeline, so that the true boxes stay in pixels of the original image"
)
# Boxes drawn by hand may end slightly outside; what lies further out was resized together with the image.
OUTSIDE_TOLERANCE_PX = 2.0


def _array(values: Any, dtype: type) -> np.ndarray:
    """Tensor (any device, also bfloat16), ``BaseBoxes`` or array -> NumPy array of ``dtype``."""
    values = getattr(values, "tensor", values)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values, dtype)


def image_record(data_sample: Mapping[str, Any]) -> ImageRecord:
    """Read one evaluated sample.

    Args:
        data_sample: a ``DetDataSample`` as dict, with ``pred_instances``, ``gt_instances``, ``ignored_instances``.

    Raises:
        ConfigError: no truth, or truth in another image's coordinates.
    """
    name = str(data_sample.get("img_path") or data_sample.get("img_id", ""))
    truth, ignored = data_sample.get("gt_instances") or {}, data_sample.get("ignored_instances") or {}
    if "bboxes" not in truth or "labels" not in truth:
        raise ConfigError(f"image {name!r}: {TRUTH_HELP}")
    predicted, shape = data_sample["pred_instances"], data_sample.get("ori_shape")
    height, width = (np.inf, np.inf) if shape is None else shape[:2]
    corner = np.array([width, height, width, height], np.float32)
    record = ImageRecord(
        # Some heads (YOLO) predict beyond the image, where no truth can be: all are compared alike.
        boxes_xyxy=_array(predicted["bboxes"], np.float32).reshape(-1, 4).clip(0, corner),
        scores=_array(predicted["scores"], np.float32),
        labels=_array(predicted["labels"], np.int64),
        truth_xyxy=_array(truth["bboxes"], np.float32).reshape(-1, 4),
        truth_labels=_array(truth["labels"], np.int64),
        ignore_xyxy=_array(ignored.get("bboxes", np.empty((0, 4))), np.float32).reshape(-1, 4),
        ignore_labels=_array(ignored.get("labels", np.empty(0)), np.int64),
        name=name,
        area_px=None if shape is None else int(shape[0]) * int(shape[1]),
    )
    if record.truth_xyxy.size and (record.truth_xyxy[:, 2:].max(axis=0) > (
        np.array([width, height]) + OUTSIDE_TOLERANCE_PX
    )).any():  # fmt: skip
        raise ConfigError(
            f"image {name!r}: true boxes reach to {record.truth_xyxy[:, 2:].max(axis=0).tolist()} in an image of "
            f"{width} x {height} pixels. The annotations were resized with the image: put `LoadAnnotations` AFTER the "
            "resize in the val/test pipeline"
        )
    return record


@METRICS.register_module()
class CTCDetMetric(BaseMetric):
    """AP per class, precision, recall and F1, false positives on blank images, COCO AP, and files of all that.

    Source: ssd-attention-fusion-2022, section 2.6.4, Eq. 5 and 6, in our readings 9 and 14. Everything is counted in
    pixels of the original image; a hit has IoU >= ``iou_thr`` with a truth not yet matched; predictions in ignore
    regions count neither way. The lowest score that takes part (0.02) is the model's ``test_cfg.score_thr``.
    Each class is counted by itself: a box of one class in the place of a better one of another still counts.

    Values (prefix ``ctc/``), NaN where undefined (no truth of the class, no blank image):

    - ``AP50_<class>``, ``mAP50``: area under the PR curve (all points, monotone precision), mean over classes;
      COCO's, over IoU and 101 points: ``mAP``, ``coco_AP50``, ``coco_AP75``, ``coco_AP_<class>``, and ``coco_APs``,
      ``coco_APm``, ``coco_APl`` for small, medium and large cells;
    - ``precision@0.5``, ``recall@0.5``, ``f1@0.5``: all classes pooled at ``score_thr``;
      ``precision_<class>``, ``recall_<class>``, ``f1_<class>``: each class there;
    - ``best_f1_<class>``, and ``best_f1_score_thr``: the target's threshold there;
    - ``fp_per_blank_image`` and ``fp_per_blank_image_<class>`` at ``score_thr``; blank: no true cell of any class;
    - with a frozen operating point ``precision_<class>@frozen``, ``recall_..``, ``f1_..``, ``score_thr_..`` and
      ``fp_per_blank_image_..``.

    Args:
        iou_thr: overlap that makes a hit, in (0, 1].
        score_thr: fixed threshold (``>=``) of precision, recall and F1, in [0, 1].
        out_dir: where ``metrics.json``, ``pr_<class>.csv`` and ``pr_curve.png`` go; None writes nothing.
        operating_point: ``'auto'`` chooses the thresholds of best F1 on these images and publishes them (validation);
            a dict (``ctc_mm.evaluation.operating_point``) applies thresholds chosen before, unchanged (test);
            None does neither.
        max_per_img: the model's limit on predictions per image, if known: images that reach it are counted, with a
            warning where the cut reaches scores that a threshold lets through.
        collect_device, prefix, collect_dir: see ``mmengine.evaluator.BaseMetric``.

    Raises:
        ConfigError: an option out of range; classes, target or truth missing in the data.

    Example::

        val_evaluator = dict(type='ctc_mm.CTCDetMetric')
        default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='ctc/mAP50'))
        custom_hooks = [dict(type='ctc_mm.OperatingPointHook')]
    """

    default_prefix = "ctc"

    def __init__(
        self,
        iou_thr: float = 0.5,
        score_thr: float = 0.5,
        out_dir: str | Path | None = None,
        operating_point: str | Mapping[str, Any] | None = "auto",
        max_per_img: int | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if not 0 < iou_thr <= 1:
            raise ConfigError(f"CTCDetMetric: `iou_thr` must lie in (0, 1]. Received: {iou_thr}")
        if not 0 <= score_thr <= 1:
            raise ConfigError(f"CTCDetMetric: `score_thr` must lie in [0, 1]. Received: {score_thr}")
        if max_per_img is not None and max_per_img < 1:
            raise ConfigError(f"CTCDetMetric: `max_per_img` must be at least 1 or None. Received: {max_per_img}")
        self.iou_thr, self.score_thr, self.max_per_img = float(iou_thr), float(score_thr), max_per_img
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.chooses = operating_point == "auto"
        self.frozen: OperatingPoint | None = None
        if not self.chooses and operating_point is not None:
            try:
                self.frozen = OperatingPoint.from_dict(operating_point)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    "CTCDetMetric: `operating_point` must be 'auto', None or a point chosen on validation: "
                    + str(error)
                ) from error

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep boxes, scores and labels of each sample as small NumPy arrays."""
        self.results.extend(image_record(sample) for sample in data_samples)

    def compute_metrics(self, results: list[ImageRecord]) -> dict[str, float]:
        """Evaluate all images, publish the operating point, write the files.

        Returns:
            The flat values listed above.
        """
        classes, target = self._classes_and_target()
        if not results:
            raise ConfigError("CTCDetMetric: no image was evaluated; the data set of this evaluation is empty")
        logger = MMLogger.get_current_instance()
        frozen_thresholds = self._frozen_thresholds(classes, logger)
        summary = summarise_detection(results, classes, self.iou_thr, self.score_thr, frozen_thresholds)
        coco = evaluate_coco(results, classes)
        values = flat_values(summary, coco, target)
        if math.isnan(summary.mean_ap):
            logger.warning("no true cell in these images: AP is undefined, and no best checkpoint can be chosen by it")
        point = self.frozen
        if self.chooses:
            point = choose_operating_point(summary, target)
            publish_operating_point(point)
            if point is None:
                logger.warning(f"no {target} was found at any score: no operating point could be chosen")
        truncation = self._truncation(results, logger)
        if self.out_dir is not None:
            areas = [image.area_px for image in results]
            content = metrics_json(
                summary,
                coco,
                target=target,
                per_iou=per_iou_json(results, classes, self.score_thr),
                values=values,
                operating_point=None if point is None else point.to_dict(),
                operating_point_source=self._point_source(point),
                truncation=truncation,
                images_area_px=None if None in areas else sum(areas),
            )
            for path in write_report(self.out_dir, summary, content):
                logger.info(f"wrote {path}")
        return values

    def _point_source(self, point: OperatingPoint | None) -> str | None:
        if point is None:
            return None
        return "chosen on these images" if self.chooses else "chosen before, applied unchanged"

    def _classes_and_target(self) -> tuple[tuple[str, ...], str]:
        meta = self.dataset_meta or {}
        classes = meta.get("classes") or ()
        classes = (classes,) if isinstance(classes, str) else tuple(classes)
        if not classes:
            raise ConfigError(
                "CTCDetMetric: the data set's metainfo has no `classes`; give `metainfo=dict(classes=...)`"
            )
        target = meta.get("target") or classes[0]
        if target not in classes:
            raise ConfigError(f"CTCDetMetric: the target {target!r} is none of the classes {classes}; fix `metainfo`")
        return classes, target

    def _frozen_thresholds(self, classes: Sequence[str], logger: MMLogger) -> dict[str, float | None] | None:
        if self.frozen is None:
            return None
        if set(self.frozen.thresholds) != set(classes):
            raise ConfigError(
                f"CTCDetMetric: the operating point was chosen for the classes {sorted(self.frozen.thresholds)}, the "
                f"data set has {sorted(classes)}; choose it again on a validation set with these classes"
            )
        if self.frozen.iou_thr != self.iou_thr:
            logger.warning(
                f"the operating point was chosen at IoU {self.frozen.iou_thr:g}, this evaluation uses {self.iou_thr:g}"
            )
        for name, threshold in self.frozen.thresholds.items():
            if threshold is None:
                logger.warning(f"no threshold was chosen for {name}: none of it was found on validation")
        return self.frozen.thresholds

    def _truncation(self, results: Sequence[ImageRecord], logger: MMLogger) -> dict[str, int | float | None] | None:
        """Count images at the model's limit; below ``cut_below_score`` some of their predictions are missing."""
        if self.max_per_img is None:
            return None
        at_limit = [image for image in results if len(image.boxes_xyxy) >= self.max_per_img]
        cut_below = max((float(image.scores.min()) for image in at_limit), default=None)
        thresholds = [self.score_thr, *(self.frozen.thresholds.values() if self.frozen else ())]
        # Cut below every threshold, only the far end of the PR curve misses something: nothing that is counted.
        if cut_below is not None and cut_below >= min(thr for thr in thresholds if thr is not None):
            logger.warning(
                f"{len(at_limit)} of {len(results)} images hold {self.max_per_img} predictions, the model's limit, and "
                f"what scores under {cut_below:.3f} is cut: dense fields lose cells; raise `test_cfg.max_per_img`"
            )
        return {"max_per_img": self.max_per_img, "images_at_limit": len(at_limit), "cut_below_score": cut_below}


def flat_values(summary: DetectionSummary, coco: CocoScores, target: str) -> dict[str, float]:
    """Flatten a result for the logger and for ``save_best`` (names: ``CTCDetMetric``, without the prefix)."""
    ap_name, pooled, at = f"AP{round(100 * summary.iou_thr)}", summary.pooled, f"@{summary.score_thr:g}"
    values = {
        f"m{ap_name}": summary.mean_ap,
        "mAP": coco.ap,
        "coco_AP50": coco.ap50,
        "coco_AP75": coco.ap75,
        "coco_APs": coco.ap_small,
        "coco_APm": coco.ap_medium,
        "coco_APl": coco.ap_large,
        f"precision{at}": pooled.precision,
        f"recall{at}": pooled.recall,
        f"f1{at}": pooled.f1,
        "fp_per_blank_image": summary.pooled_blanks.per_image,
    }
    best_of_target = summary.per_class[target].best
    values["best_f1_score_thr"] = best_of_target.score_thr if best_of_target else float("nan")
    for name, one in summary.per_class.items():
        values[f"{ap_name}_{name}"] = one.ap
        values[f"coco_AP_{name}"] = coco.per_class[name]
        values[f"precision_{name}"] = one.at_score.precision
        values[f"recall_{name}"] = one.at_score.recall
        values[f"f1_{name}"] = one.at_score.f1
        values[f"best_f1_{name}"] = one.best.counts.f1 if one.best else 0.0
        values[f"fp_per_blank_image_{name}"] = summary.blanks_at_score[name].per_image
        if one.at_frozen is not None and one.frozen_thr is not None:
            values[f"score_thr_{name}@frozen"] = one.frozen_thr
            values[f"precision_{name}@frozen"] = one.at_frozen.precision
            values[f"recall_{name}@frozen"] = one.at_frozen.recall
            values[f"f1_{name}@frozen"] = one.at_frozen.f1
            values[f"fp_per_blank_image_{name}@frozen"] = summary.blanks_at_frozen[name].per_image
    return {key: float(value) for key, value in values.items()}
