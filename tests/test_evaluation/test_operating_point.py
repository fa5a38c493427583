import json

import pytest
import torch
from mmengine.config import ConfigDict
from random_sets import record

from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.evaluation.functional import summarise_detection
from ctc_mm.evaluation.operating_point import (
    META_KEY,
    OperatingPoint,
    apply_operating_point,
    choose_operating_point,
    frozen_operating_point,
    stamped,
)

POINT = {
    "kind": "detection",
    "target": "CTC",
    "thresholds": {"CTC": 0.37, "WBC": None},
    "f1": {"CTC": 0.9, "WBC": None},
    "iou_thr": 0.5,
    "n_images": 12,
    "epoch": 3,
    "iter": 60,
}
A, STRAY = [0, 0, 10, 10], [70, 70, 80, 80]


def test_nothing_found_means_no_point():
    for image in (record(), record(truth=[A]), record([STRAY], [0.9], truth=[A])):
        assert choose_operating_point(summarise_detection([image], ("CTC", "WBC")), "CTC") is None


def test_chosen_point_by_hand():
    image = record([A, STRAY, STRAY], [0.25, 0.75, 0.5], labels=[0, 0, 1], truth=[A])
    point = choose_operating_point(summarise_detection([image], ("CTC", "WBC")), "CTC")
    assert point.thresholds == {"CTC": 0.25, "WBC": None}
    assert point.f1 == {"CTC": pytest.approx(2 / 3), "WBC": None}
    assert (point.target, point.iou_thr, point.n_images, point.epoch) == ("CTC", 0.5, 1, None)


def test_there_and_back_through_json_and_a_weights_only_checkpoint(tmp_path):
    assert OperatingPoint.from_dict(json.loads(json.dumps(POINT))).to_dict() == POINT
    torch.save({"meta": {META_KEY: POINT}}, tmp_path / "a.pth")
    assert frozen_operating_point(torch.load(tmp_path / "a.pth", weights_only=True)) == POINT


def test_stamp_keeps_the_rest():
    assert stamped({**POINT, "epoch": None, "iter": None}, 3, 60) == POINT


@pytest.mark.parametrize("checkpoint", [{}, {"meta": None}, {"meta": {}}, {"state_dict": {}, "meta": {"epoch": 1}}])
def test_checkpoint_without_a_point(checkpoint):
    assert frozen_operating_point(checkpoint) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "RBC"}, "the target 'RBC' needs a threshold"),
        ({"thresholds": {"CTC": "high"}}, "must be a finite number or None. Received: 'high'"),
        ({"thresholds": {"CTC": float("nan")}}, "finite number"),
        ({"thresholds": 0.4}, "map class names to numbers"),
        ({"extra": 1}, "Received: .*'extra'"),
    ],
    ids=["target", "text", "nan", "no dict", "unknown key"],
)
def test_damaged_point_in_a_checkpoint_is_named_with_its_cure(change, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        frozen_operating_point({"meta": {META_KEY: {**POINT, **change}}})
    assert "chosen again on validation" in str(caught.value)
    with pytest.raises(CheckpointError, match="must be a dict"):
        frozen_operating_point({"meta": {META_KEY: 0.5}})


def test_point_is_set_in_the_evaluator_config():
    other = {"type": "CocoMetric"}
    evaluator = [ConfigDict(type="ctc_mm.CTCDetMetric", out_dir="x"), other]
    assert apply_operating_point(evaluator, POINT) == 1
    assert evaluator[0]["operating_point"] == POINT
    assert OperatingPoint.from_dict(evaluator[0]["operating_point"]).to_dict() == POINT
    assert other == {"type": "CocoMetric"}
    single = ConfigDict(type="CTCDetMetric")
    assert apply_operating_point(single, POINT) == 1
    assert single["operating_point"]["thresholds"]["CTC"] == 0.37


def test_evaluator_without_our_metric_is_an_error():
    with pytest.raises(ConfigError, match="no `ctc_mm.CTCDetMetric`"):
        apply_operating_point([{"type": "CocoMetric"}], POINT)
