import json

import pytest
import torch

from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.evaluation.operating_point import (
    META_KEY,
    OperatingPoint,
    apply_operating_point,
    frozen_operating_point,
    is_ctc_metric,
    metric_kind,
    point_from_dict,
    stamped,
)

POINT = {
    "kind": "classification",
    "target": "CTC",
    "thresholds": {"youden": 0.4, "wanted_sensitivity": 0.2, "wanted_fpr": None},
    "wanted_sensitivity": 0.95,
    "wanted_fpr": 0.01,
    "temperature": 1.5,
    "n_target": 10,
    "n_rest": 40,
    "reasons": {"wanted_fpr": "cannot be met"},
    "temperature_reason": "",
    "size_thr": 12.5,
    "size_unit": "um",
    "size_reason": "",
    "epoch": None,
    "iter": None,
}
DETECTION = {"target": "CTC", "thresholds": {"CTC": 0.3}, "f1": {"CTC": 0.9}, "iou_thr": 0.5, "n_images": 4}


def test_there_and_back_through_json_and_a_weights_only_checkpoint(tmp_path):
    assert ClassificationPoint.from_dict(json.loads(json.dumps(POINT))).to_dict() == POINT
    torch.save({"meta": {META_KEY: POINT}}, tmp_path / "a.pth")
    assert frozen_operating_point(torch.load(tmp_path / "a.pth", weights_only=True)) == POINT


def test_kinds_are_told_apart_and_an_old_point_is_a_detectors():
    assert isinstance(point_from_dict(POINT), ClassificationPoint)
    assert isinstance(point_from_dict(DETECTION), OperatingPoint)
    old = frozen_operating_point({"meta": {META_KEY: DETECTION}})
    assert old == {"kind": "detection", **DETECTION, "epoch": None, "iter": None}
    assert stamped(POINT, 3, 60) == {**POINT, "epoch": 3, "iter": 60}
    assert stamped(DETECTION, 3, 60) == {**old, "epoch": 3, "iter": 60}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "segmentation"}, "one of .*'classification', 'detection'.*Received: 'segmentation'"),
        ({"temperature": 0}, "positive number. Received: 0"),
        ({"temperature": None}, "positive number"),
        ({"thresholds": {"youden": "high"}}, "'youden' must be a finite number or None"),
        ({"thresholds": 0.4}, "`thresholds` of an operating point is a dict by rule"),
        ({"size_thr": float("inf")}, "'size_thr' must be a finite"),
        ({"size_unit": "mm"}, "must be 'um' or 'px'"),
        ({"extra": 1}, "Received: .*'extra'"),
        ({"n_rest": ...}, "has the keys"),
    ],
)
def test_damaged_point_in_a_checkpoint_is_named_with_its_cure(change, message):
    content = {key: value for key, value in {**POINT, **change}.items() if value is not ...}
    with pytest.raises(CheckpointError, match=message) as caught:
        frozen_operating_point({"meta": {META_KEY: content}})
    assert "chosen again on validation" in str(caught.value)


def test_a_point_reaches_metrics_of_its_own_kind_only():
    evaluator = [{"type": "ctc_mm.CTCDetMetric"}, {"type": "ctc_mm.CTCBinaryMetric"}, {"type": "Accuracy"}]
    assert [metric_kind(one) for one in evaluator] == ["detection", "classification", None]
    assert [is_ctc_metric(one) for one in evaluator] == [True, True, False]
    assert apply_operating_point(evaluator, POINT) == 1
    assert [one.get("operating_point") for one in evaluator] == [None, POINT, None]
    assert apply_operating_point(evaluator, DETECTION) == 1
    assert evaluator[0]["operating_point"] == DETECTION
    with pytest.raises(ConfigError, match=r"no `ctc_mm\.CTCBinaryMetric`"):
        apply_operating_point({"type": "ctc_mm.CTCDetMetric"}, POINT)
