"""Files of an evaluation: metrics.json, a PR curve per class as CSV, all of them as PNG; same result, same bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctc_mm.evaluation.coco_eval import CocoScores
from ctc_mm.evaluation.functional import (
    BestF1,
    ClassSummary,
    DetectionSummary,
    FalsePositivesOnBlanks,
    ImageRecord,
    PRCurve,
    summarise_detection,
)
from ctc_mm.evaluation.output import json_number, new_figure, png_bytes
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

COCO_IOU_THRS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
AP_METHOD = "area under the precision-recall curve: all points, precision made monotone; null: no truth of the class"


def _blanks(found: FalsePositivesOnBlanks) -> dict[str, Any]:
    return {"FP": found.count, "blank_images": found.n_images, "FP_per_blank_image": json_number(found.per_image)}


def _best(best: BestF1 | None) -> dict[str, Any] | None:
    return None if best is None else {"score_thr": best.score_thr, **best.counts.to_json()}


def _class_json(name: str, one: ClassSummary, summary: DetectionSummary) -> dict[str, Any]:
    frozen = None
    if one.at_frozen is not None:
        frozen = {
            "score_thr": one.frozen_thr,
            **one.at_frozen.to_json(),
            "on_blank_images": _blanks(summary.blanks_at_frozen[name]),
        }
    return {
        "truth": one.matches.n_truth,
        "ignore_regions": one.matches.n_ignore_regions,
        "predictions": int(one.matches.scores.size) + one.matches.n_ignored,
        "predictions_in_ignore_regions": one.matches.n_ignored,
        "AP": json_number(one.ap),
        "at_score_thr": {
            "score_thr": summary.score_thr,
            **one.at_score.to_json(),
            "on_blank_images": _blanks(summary.blanks_at_score[name]),
        },
        "at_best_f1_of_these_images": _best(one.best),
        "at_frozen_thr": frozen,
    }


def per_iou_json(images: Sequence[ImageRecord], classes: Sequence[str], score_thr: float) -> dict[str, Any]:
    """AP and counts at ``score_thr`` for each class at each of COCO's IoU thresholds."""
    table: dict[str, Any] = {name: {} for name in classes}
    for iou_thr in COCO_IOU_THRS:
        for name, one in summarise_detection(images, classes, iou_thr, score_thr).per_class.items():
            table[name][f"{iou_thr:.2f}"] = {"AP": json_number(one.ap), **one.at_score.to_json()}
    return table


def metrics_json(
    summary: DetectionSummary,
    coco: CocoScores,
    target: str,
    per_iou: Mapping[str, Any],
    values: Mapping[str, float],
    operating_point: Mapping[str, Any] | None,
    operating_point_source: str | None,
    truncation: Mapping[str, Any] | None,
    images_area_px: int | None,
) -> dict[str, Any]:
    """Assemble the content of ``metrics.json``: counts (plain ints) beside every rate.

    Args:
        summary: the result.
        coco: COCO's view of it.
        target: the class that matters most.
        per_iou: see ``per_iou_json``.
        values: the flat dict given to the logger.
        operating_point: chosen here or applied here, or None.
        operating_point_source: which of them.
        truncation: how many images hold as many predictions as the model may give, if the limit is known.
        images_area_px: area of all images together, if it is known.
    """
    return {
        "classes": list(summary.per_class),
        "target": target,
        "images": summary.n_images,
        "images_area_px": images_area_px,
        "blank_images": summary.n_blank_images,
        "iou_thr": summary.iou_thr,
        "score_thr": summary.score_thr,
        "ap_method": AP_METHOD,
        "mAP": json_number(summary.mean_ap),
        "all_classes_at_score_thr": {**summary.pooled.to_json(), "on_blank_images": _blanks(summary.pooled_blanks)},
        "per_class": {
            name: {**_class_json(name, one, summary), "per_iou_at_score_thr": per_iou[name]}
            for name, one in summary.per_class.items()
        },
        "coco": {
            key: {name: json_number(ap) for name, ap in value.items()}
            if isinstance(value, dict)
            else json_number(value)
            for key, value in asdict(coco).items()
            if key != "max_detections"
        }
        | {"max_detections": coco.max_detections},
        "operating_point": None if operating_point is None else dict(operating_point),
        "operating_point_source": operating_point_source,
        "truncation": None if truncation is None else dict(truncation),
        "values": {key: json_number(value) for key, value in values.items()},
    }


def curve_csv(curve: PRCurve) -> str:
    """All points of a curve, highest score first: ``score,precision,recall,f1,tp,fp,fn``."""
    rows = ["score,precision,recall,f1,tp,fp,fn"]
    columns = (curve.score, curve.precision, curve.recall, curve.f1, curve.tp, curve.fp)
    for score, precision, recall, f1, tp, fp in zip(*(column.tolist() for column in columns), strict=True):
        rows.append(f"{score!r},{precision:.6f},{recall:.6f},{f1:.6f},{tp},{fp},{curve.n_truth - tp}")
    return "\n".join(rows) + "\n"


def draw_curves(summary: DetectionSummary) -> bytes:
    """Draw every class's precision-recall curve as PNG: AP in the legend, the operating point marked.

    The mark is the frozen threshold where there is one (filled), else the best F1 of these images (hollow).
    """
    figure = new_figure(6, 5)
    axes = figure.add_subplot()
    for index, (name, one) in enumerate(summary.per_class.items()):
        colour = f"C{index % 10}"
        ap = "no truth" if math.isnan(one.ap) else f"AP{round(100 * summary.iou_thr)} {one.ap:.3f}"
        recall = [0.0, *one.curve.recall]
        precision = [*one.curve.precision[:1], *one.curve.precision] or [0.0]
        axes.plot(recall, precision, color=colour, label=f"{name}: {ap} (n={one.matches.n_truth})")
        if one.at_frozen is not None:
            point, score, face = one.at_frozen, one.frozen_thr, colour
        elif one.best is not None:
            point, score, face = one.best.counts, one.best.score_thr, "none"
        else:
            continue
        kind = "frozen threshold" if face == colour else "best F1 of these images"
        axes.scatter(
            [point.recall], [point.precision], s=45, edgecolors=colour, facecolors=face, zorder=3,
            label=f"{name}: {kind} {score:.3f}, F1 {point.f1:.3f}",
        )  # fmt: skip
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"{summary.n_images} images, IoU >= {summary.iou_thr:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")
    return png_bytes(figure)


def curve_files(classes: Sequence[str]) -> dict[str, str]:
    """File name of each class's curve; two classes whose names differ only in odd characters stay apart."""
    names: dict[str, str] = {}
    for index, name in enumerate(classes):
        plain = f"pr_{re.sub(r'[^A-Za-z0-9_-]+', '_', name)}.csv"
        taken = {other.lower() for other in names.values()}
        names[name] = plain if plain.lower() not in taken else f"{plain[:-4]}_{index}.csv"
    return names


def write_report(out_dir: str | Path, summary: DetectionSummary, content: Mapping[str, Any]) -> list[Path]:
    """Write ``metrics.json``, ``pr_<class>.csv`` and ``pr_curve.png``.

    Args:
        out_dir: made if it does not exist.
        summary: the result.
        content: see ``metrics_json``.

    Returns:
        The files written.
    """
    out_dir = Path(out_dir)
    written = [out_dir / "metrics.json"]
    write_json(written[0], content)
    for name, file_name in curve_files(list(summary.per_class)).items():
        atomic_write_text(out_dir / file_name, curve_csv(summary.per_class[name].curve))
        written.append(out_dir / file_name)
    atomic_write_bytes(out_dir / "pr_curve.png", draw_curves(summary))
    return [*written, out_dir / "pr_curve.png"]
