"""What is known of a model from its test: sensitivity and false positives, as ``tools/test.py`` wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctc_mm.counting.correction import FalsePerArea, Rate, corrected_count
from ctc_mm.counting.estimates import Estimate
from ctc_mm.counting.records import UNIDENTIFIED, CountedCell, SlideCount
from ctc_mm.errors import SlideError
from ctc_mm.formats.fields import JsonField, load_json_object

DETECTION, CLASSIFICATION = "detection", "classification"
METRICS_FILE = "metrics.json"
RULE_ROUTE = "imfish"
SAME_THRESHOLD = 1e-3
# Flag of cells that a classifier gave less than its threshold, and more than what makes them another class.
BELOW_THRESHOLD = "doubtful"
IMAGES_OWN = "of the test images"
ASSUMED = "assumed: test images as large as the model's window, since the metrics.json names no area; test again"
_UNDEFINED = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Performance:
    """A model's known sensitivity and false positives at one threshold.

    A detector's test counts each class by itself, whereas a count on a slide gives one place to one class
    (``merge.merge_windows``): a false CTC in the place of a better box of another class is in the test and not on the
    slide, and so is a CTC that was found under a better box of another class. Where classes often meet in one place the
    correction takes off, and adds, a little too much.

    Attributes:
        kind: ``detection`` (false positives by image) or ``classification`` (by cell that is no CTC).
        target: the class it was tested on.
        threshold: score from which an object counts.
        rule: name of the threshold: ``frozen`` or ``score_thr`` (detector), ``youden`` ... (classifier).
        source: of the threshold, in words; whether it was chosen on the very images it was tested on.
        hits: CTCs found, of ``truths``.
        truths: CTCs in the test set.
        false_positives: objects wrongly called CTC.
        others: cells that are no CTC (classification), 0 for detection.
        images: test images (detection), 0 for classification.
        file: where it was read.
        images_area_px: area of the test images together (detection); None where the file does not say.
    """

    kind: str
    target: str
    threshold: float
    rule: str
    source: str
    hits: int
    truths: int
    false_positives: int
    others: int
    images: int
    file: str
    images_area_px: float | None = None

    def correct(self, count: SlideCount, confidence: float) -> dict[str, Any]:
        """Correct the count of a slide, as JSON values; null with ``reason`` where that cannot be done."""
        facts = {
            "sensitivity": {"k": self.hits, "n": self.truths},
            "false_positives": self.false_positives,
            "tested_on": {"images": self.images} if self.kind == DETECTION else {"cells_that_are_no_ctc": self.others},
            "threshold": self.threshold,
            "rule": self.rule,
            "threshold_source": self.source,
            "file": self.file,
        }
        exposure: dict[str, Any] = {}
        try:
            exposure = self._exposure(count)
            found = count.counts[count.target]
            return {**_corrected({**facts, **exposure}, found, confidence).to_json(), **facts, **exposure}
        except (ValueError, TypeError) as error:
            return {**_UNDEFINED, "confidence": confidence, "reason": str(error), **facts, **exposure}

    def _exposure(self, count: SlideCount) -> dict[str, Any]:
        """How much was judged, on the slide and in the test: cells, or pixels of the model."""
        if count.route == RULE_ROUTE:
            raise ValueError("a rule on measurements decides, and the test of a model does not tell how well it does")
        if self.target != count.target:
            raise ValueError(f"tested on class {self.target!r}, counted is {count.target!r}")
        used = _threshold_of(count)
        if used is not None and not math.isclose(used, self.threshold, rel_tol=SAME_THRESHOLD, abs_tol=SAME_THRESHOLD):
            raise ValueError(
                f"tested at a threshold of {self.threshold:.4g} ({self.rule}), counted at {used:.4g}: test and count "
                "at the same one"
            )
        if self.kind == CLASSIFICATION:
            return {"cells_judged": sum(_was_judged(cell) for cell in count.cells)}
        looked = {"area_px": self._looked_px(count)}
        if self.images_area_px is not None:
            return {**looked, "test_area_px": self.images_area_px, "test_area_source": IMAGES_OWN}
        return {**looked, "test_area_px": self.images * self._window_px(count), "test_area_source": ASSUMED}

    @staticmethod
    def _window_px(count: SlideCount) -> float:
        """Area of a test image: what the model sees at once, as it was trained."""
        window = (count.model or {}).get("window_wh")
        if not window:
            raise ValueError("the size of the test images is unknown: the model names no `window_wh`")
        return float(window[0]) * float(window[1])

    @staticmethod
    def _looked_px(count: SlideCount) -> float:
        """Area that was looked at, in pixels of the model; skipped background was tested to be empty."""
        model_um = (count.model or {}).get("um_per_px")
        scale = 1.0 if count.um_per_px is None or not model_um else count.um_per_px / float(model_um)
        return count.area.analysed_px * scale * scale


def _threshold_of(count: SlideCount) -> float | None:
    """Score from which an object was called the target, by a detector or a classifier; None where a route has none."""
    scores = count.thresholds.get("score")
    return scores.get(count.target) if isinstance(scores, Mapping) else count.thresholds.get("probability")


def _was_judged(cell: CountedCell) -> bool:
    """Whether a classifier's verdict on a cell is known: not where the cell is a clump, cut or out of focus."""
    return cell.class_name != UNIDENTIFIED or BELOW_THRESHOLD in cell.flags


def pooled_correction(corrections: Sequence[Mapping[str, Any]], found: int, confidence: float) -> dict[str, Any] | None:
    """Correct the count of several slides together, from the ``correction`` of their cards.

    Args:
        corrections: of each card.
        found: cells called CTC on all of them.
        confidence: of the interval.

    Returns:
        As ``Performance.correct``; None where a slide has none, or the slides were corrected by different tests.
    """
    if not corrections or not all(corrections):
        return None
    first = corrections[0]
    same = ("sensitivity", "false_positives", "tested_on", "threshold", "test_area_px")
    if any(one.get(key) != first.get(key) for one in corrections for key in same):
        return None
    sums = {key: sum(one[key] for one in corrections) for key in ("cells_judged", "area_px") if key in first}
    together = {**first, **sums}
    try:
        return {**together, **_corrected(together, found, confidence).to_json()}
    except (ValueError, TypeError, KeyError) as error:
        return {**together, **_UNDEFINED, "reason": str(error)}


def _corrected(facts: Mapping[str, Any], found: int, confidence: float) -> Estimate:
    """Correct a count by the facts of a card's ``correction``."""
    sensitivity = Rate(facts["sensitivity"]["k"], facts["sensitivity"]["n"])
    if "cells_judged" in facts:
        false = Rate(facts["false_positives"], facts["tested_on"]["cells_that_are_no_ctc"])
        return corrected_count(found, sensitivity, false, n_cells=facts["cells_judged"], confidence=confidence)
    false_per_area = FalsePerArea(facts["false_positives"], facts["test_area_px"])
    return corrected_count(found, sensitivity, false_per_area, area_px=facts["area_px"], confidence=confidence)


def read_performance(path: str | Path, rule: str | None = None) -> Performance:
    """Read the ``metrics.json`` of ``CTCDetMetric`` or ``CTCBinaryMetric``.

    Args:
        path: the file, or the folder that holds it.
        rule: operating point; None: the threshold frozen with the weights (detector), ``youden`` (classifier).

    Raises:
        AnnotationError: the file is missing, no JSON, or holds a wrong value.
        SlideError: it is of no test of ours, has no truth, or lacks the operating point.
    """
    path = Path(path)
    root = load_json_object(path / METRICS_FILE if path.is_dir() else path)
    if root.has("per_class"):
        return _detection(root, rule)
    if root.has("operating_points"):
        return _classification(root, rule)
    raise SlideError(f"{root.file}: is no metrics.json of tools/test.py (neither `per_class` nor `operating_points`)")


def _detection(root: JsonField, rule: str | None) -> Performance:
    target = root.get("target").string()
    one = root.get("per_class").get(target)
    names = {"frozen": "at_frozen_thr", "score_thr": "at_score_thr"}
    rule = rule or ("frozen" if one.has("at_frozen_thr") else "score_thr")
    if rule not in names or not one.has(names[rule]):
        raise SlideError(
            f"{root.file}: has no result at {rule!r} for {target}; there are frozen (where it is) and score_thr"
        )
    point = one.get(names[rule])
    hits, missed = point.get("TP").integer(0), point.get("FN").integer(0)
    source = root.get("operating_point_source").string() if root.has("operating_point_source") else "unknown"
    return _checked(
        Performance(
            DETECTION, target, float(point.get("score_thr").number()), rule, source if rule == "frozen" else "fixed",
            hits, hits + missed, point.get("FP").integer(0), 0, root.get("images").integer(0), root.file,
            root.get("images_area_px").integer(1) if root.mapping().get("images_area_px") is not None else None,
        )
    )  # fmt: skip


def _classification(root: JsonField, rule: str | None) -> Performance:
    points, rule = root.get("operating_points"), rule or "youden"
    if not points.has(rule) or not points.get(rule).has("TP"):
        usable = [name for name in points.mapping() if points.get(name).has("TP")]
        raise SlideError(f"{root.file}: has no result at {rule!r}; there are {', '.join(usable)}")
    point = points.get(rule)
    hits, missed, false = (point.get(key).integer(0) for key in ("TP", "FN", "FP"))
    return _checked(
        Performance(
            CLASSIFICATION, root.get("target").string(), float(point.get("threshold").number()), rule,
            point.get("source").string(), hits, hits + missed, false, false + point.get("TN").integer(0), 0, root.file,
        )
    )  # fmt: skip


def _checked(found: Performance) -> Performance:
    tested = found.images if found.kind == DETECTION else found.others
    if found.truths < 1 or tested < 1:
        what = "images" if found.kind == DETECTION else f"cells other than {found.target}"
        raise SlideError(
            f"{found.file}: the test had {found.truths} {found.target} and {tested} {what}; both must be at least 1 to "
            "correct a count by it"
        )
    return found
