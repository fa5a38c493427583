"""Figures on resamples: as the images are, they are the evaluation's own; drawn twice, an image counts as two."""

import math

import numpy as np
import pytest

from ctc_mm.evaluation.coco_eval import evaluate_coco
from ctc_mm.evaluation.functional import ImageRecord, ResampledDetection, bootstrap_figures, summarise_detection

CLASSES = ("Platelets", "RBC", "WBC")
FROZEN = {"Platelets": 0.3, "RBC": 0.7, "WBC": None}


def boxes(rng, count):
    corner = rng.uniform(0, 80, (count, 2))
    return np.hstack([corner, corner + rng.uniform(8, 30, (count, 2))]).astype(np.float32)


def drawn(seed, empty=False):
    """An image with truth, an ignore region, and predictions around the truth and elsewhere."""
    rng = np.random.default_rng(seed)
    truth, labels = boxes(rng, 0 if empty else 6), rng.integers(0, 3, 0 if empty else 6)
    near = truth + rng.normal(0, 2, truth.shape).astype(np.float32)
    found = np.vstack([near, boxes(rng, 5)])
    return ImageRecord(
        boxes_xyxy=found,
        scores=np.round(rng.uniform(0.02, 1, len(found)), 1).astype(np.float32),  # many equal ones
        labels=np.concatenate([labels, rng.integers(0, 3, 5)]),
        truth_xyxy=truth,
        truth_labels=labels,
        ignore_xyxy=boxes(rng, 1),
        ignore_labels=rng.integers(0, 3, 1),
        name=f"{seed}.png",
    )


IMAGES = [drawn(seed, empty=seed == 3) for seed in range(12)]


def expected(images, frozen=FROZEN):
    """The same figures from the evaluation that ``CTCDetMetric`` makes."""
    summary = summarise_detection(images, CLASSES, 0.5, 0.5, frozen)
    values = {"mAP50": summary.mean_ap, "f1@0.5": summary.pooled.f1, "recall@0.5": summary.pooled.recall}
    for name, one in summary.per_class.items():
        values |= {f"AP50_{name}": one.ap, f"precision_{name}@0.5": one.at_score.precision}
        if one.at_frozen is not None:
            values |= {f"f1_{name}@frozen": one.at_frozen.f1, f"recall_{name}@frozen": one.at_frozen.recall}
    return values


def test_as_they_are_images_give_the_evaluations_own_figures():
    # COCO makes every prediction a point of its own: without equal scores both agree to the last digit.
    rng = np.random.default_rng(0)
    images = [
        ImageRecord(**{**vars(one), "scores": rng.uniform(0.02, 1, one.scores.size).astype(np.float32)})
        for one in IMAGES
    ]
    figures = ResampledDetection(images, CLASSES, 0.5, FROZEN)(np.ones(len(images), np.int64))
    for name, value in expected(images).items():
        assert figures[name] == pytest.approx(value, abs=1e-12), name
    assert figures["mAP"] == pytest.approx(evaluate_coco(images, CLASSES).ap, abs=1e-9)
    assert 0.1 < figures["mAP"] < figures["mAP50"] < 1


@pytest.mark.parametrize("seed", range(4))
def test_drawn_images_count_as_often_as_they_were_drawn(seed):
    times = np.bincount(np.random.default_rng(seed).integers(12, size=12), minlength=12)
    repeated = [image for image, count in zip(IMAGES, times, strict=True) for _ in range(count)]
    figures = ResampledDetection(IMAGES, CLASSES, 0.5, FROZEN)(times)
    for name, value in expected(repeated).items():
        assert figures[name] == pytest.approx(value, abs=1e-12), name


def test_without_a_threshold_nothing_of_a_class_is_called():
    figures = ResampledDetection(IMAGES, CLASSES, 0.5, FROZEN)(np.ones(12, np.int64))
    assert (figures["precision_WBC@frozen"], figures["recall_WBC@frozen"], figures["f1_WBC@frozen"]) == (0, 0, 0)
    called = [summarise_detection(IMAGES, CLASSES, frozen_thresholds=FROZEN).per_class[name] for name in CLASSES]
    tp, fp = (sum(getattr(one.at_frozen, what) for one in called[:2]) for what in ("tp", "fp"))
    n_truth = sum(one.matches.n_truth for one in called)
    assert figures["precision@frozen"] == pytest.approx(tp / (tp + fp))
    assert figures["recall@frozen"] == pytest.approx(tp / n_truth)
    assert not any("frozen" in name for name in ResampledDetection(IMAGES, CLASSES)(np.ones(12, np.int64)))


def test_empty_images_leave_figures_undefined():
    empty = ImageRecord(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), np.empty((0, 4), np.float32),
        np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.int64),
    )  # fmt: skip
    figures = ResampledDetection([empty], CLASSES)(np.ones(1, np.int64))
    assert math.isnan(figures["mAP50"])
    assert math.isnan(figures["mAP"])
    assert math.isnan(figures["AP50_RBC"])
    assert figures["f1@0.5"] == 1.0  # nothing to find, nothing claimed
    with pytest.raises(ValueError, match="at least one image"):
        ResampledDetection([], CLASSES)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.0"):
        ResampledDetection(IMAGES, ("RBC",))


def test_several_figures_of_a_draw_are_computed_once(monkeypatch):
    resampled = ResampledDetection(IMAGES, CLASSES)
    calls = []
    compute = resampled._figures
    monkeypatch.setattr(resampled, "_figures", lambda times: (calls.append(1), compute(times))[1])
    statistics = {name: (lambda times, name=name: resampled(times)[name]) for name in ("mAP50", "mAP", "f1@0.5")}
    found = bootstrap_figures(statistics, np.arange(12), n_resamples=50)
    assert len(calls) == 51
    assert found["mAP50"].low < found["mAP50"].estimate < found["mAP50"].high
