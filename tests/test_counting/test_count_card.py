"""The count card: what is in it, and what a file has to be to be one."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numbers_counts import card_of, cells_of, count_of

from ctc_mm import __version__
from ctc_mm.counting.count_card import make_card, plain_json, read_card, software_versions, write_card
from ctc_mm.counting.performance import Performance, pooled_correction, read_performance
from ctc_mm.counting.records import AnalysedArea, CountedCell, Drop, in_order
from ctc_mm.counting.statistics import known_recovery, poisson_interval
from ctc_mm.errors import AnnotationError, SlideError
from ctc_mm.formats.files import write_json

DETECTOR = Performance("detection", "CTC", 0.4, "frozen", "chosen before", 45, 50, 4, 0, 40, "metrics.json")
CLASSIFIER = Performance("classification", "CTC", 0.4, "youden", "chosen before", 45, 50, 2, 400, 0, "metrics.json")
MODEL = {"name": "ssd", "window_wh": [320, 320], "um_per_px": 0.5, "checkpoint_sha256": "ab" * 32}


def test_card_of_an_empty_slide():
    card = card_of(0, name="empty", volume_ml=7.5)
    assert card["ctc"]["count"] == 0
    assert card["ctc"]["interval"] == pytest.approx([0, 3.689], abs=1e-3)
    assert card["ctc_per_ml"]["high"] == pytest.approx(3.6889 / 7.5, abs=1e-4)
    assert card["counts"] == {"CTC": 0, "WBC": 0, "unidentified": 0}
    assert card["size_um"]["edges_um"] == []
    assert card["complete"] is True


def test_card_has_the_count_and_what_it_would_be_with_the_unidentified():
    card = card_of(5, unidentified=3, wbc=10, name="a")
    assert card["ctc"]["interval"] == pytest.approx(poisson_interval(5))
    assert card["unidentified"] == 3
    assert card["ctc"]["if_unidentified_were_ctc"]["count"] == 8
    assert card["ctc"]["if_unidentified_were_ctc"]["interval"] == pytest.approx(poisson_interval(8))
    assert card["size_um"]["by_class"]["WBC"]["n"] == 10


def test_card_without_volume_says_why_there_is_no_concentration():
    per_ml = card_of(5, name="a")["ctc_per_ml"]
    assert per_ml["value"] is None
    assert "--volume-ml" in per_ml["reason"]


def test_card_corrects_for_dilution_lost_area_and_recovery():
    area = AnalysedArea(1_500_000, 100_000, 400_000)
    count = count_of(cells_of(8), volume_ml=4.0, dilution=2.0, area=area)
    card = make_card(count, recovery=known_recovery(0.5))
    assert card["slide"]["blood_ml"] == 2.0
    assert card["ctc_per_ml"]["value"] == pytest.approx(8 / (2.0 * 0.8 * 0.5))
    assert card["ctc_per_ml"]["without_recovery"]["value"] == pytest.approx(8 / (2.0 * 0.8))
    assert card["ctc_per_ml"]["recovery_applied"] == 0.5
    assert card["ctc"]["on_whole_slide"]["value"] == pytest.approx(10)
    assert card["complete"] is False
    assert card["area"]["dropped_mm2"] == pytest.approx(0.1)
    assert card["area"]["share"] == pytest.approx(0.8)


def test_slide_that_could_not_be_read_at_all():
    card = card_of(0, name="lost", volume_ml=7.5, area=AnalysedArea(0, 0, 2_000_000))
    assert card["ctc_per_ml"]["value"] is None
    assert "could be read" in card["ctc_per_ml"]["reason"]
    assert card["ctc"]["on_whole_slide"] is None


def test_card_lists_drops_removals_and_flags():
    cells = [CountedCell((0, 0, 9, 9), "CTC", 0.9, 9.0, ("border", "seam")), *cells_of(1)]
    count = count_of(cells)
    lost = Drop("block", "b.tif: tile 3 is damaged", 2, 131_072, ((0, 0, 256, 512),))
    count = type(count)(**{**vars(count), "drops": (lost,), "removals": {"too_large": 1, "seam_duplicate": 4}})
    card = make_card(count)
    assert card["drops"] == [
        {"kind": "block", "reason": "b.tif: tile 3 is damaged", "count": 2, "area_px": 131_072,
         "regions_xyxy": [[0, 0, 256, 512]]}
    ]  # fmt: skip
    assert list(card["removals"].items()) == [("seam_duplicate", 4), ("too_large", 1)]
    assert card["ctc"]["flags"] == {"border": 1, "seam": 1}


def test_card_names_software_and_model():
    card = make_card(count_of(model=MODEL))
    assert card["software"]["ctc_mm"] == __version__
    assert {"python", "numpy", "scipy", "torch"} <= set(card["software"])
    assert card["model"]["checkpoint_sha256"] == "ab" * 32
    assert "torch" not in software_versions(with_model=False)


def test_detector_correction_by_area():
    count = count_of(cells_of(30), model=MODEL, area=AnalysedArea(1_638_400, 361_600))
    correction = make_card(count, performance=DETECTOR)["correction"]
    # 4 false CTCs on 40 windows; 16 windows were looked at (background was tested to be empty): 1.6 of 30 are false.
    assert correction["value"] == pytest.approx((30 - 1.6) / 0.9)
    assert correction["low"] < 30 < correction["high"]
    assert correction["sensitivity"] == {"k": 45, "n": 50}


def test_detector_correction_by_the_area_of_its_test_images():
    count = count_of(cells_of(30), model=MODEL, area=AnalysedArea(1_638_400, 361_600))
    large = Performance(**{**vars(DETECTOR), "images_area_px": 40 * 640 * 640})
    correction = make_card(count, performance=large)["correction"]
    assert correction["value"] == pytest.approx((30 - 0.4) / 0.9)
    assert (correction["test_area_px"], correction["test_area_source"]) == (40 * 640 * 640, "of the test images")
    assert make_card(count, performance=DETECTOR)["correction"]["test_area_source"].startswith("assumed: ")


def test_detector_correction_counts_windows_in_pixels_of_the_model():
    # Twice the pixels of the model's: a quarter of its windows.
    count = count_of(cells_of(30), model={**MODEL, "um_per_px": 1.0}, area=AnalysedArea(1_638_400, 361_600))
    correction = make_card(count, performance=DETECTOR)["correction"]
    assert correction["value"] == pytest.approx((30 - 0.4) / 0.9)


def test_classifier_correction_by_cells_judged():
    correction = make_card(count_of(cells_of(10, 90), route="classify"), performance=CLASSIFIER)["correction"]
    assert correction["value"] == pytest.approx((10 - 0.5) / (0.9 - 0.005))
    assert correction["cells_judged"] == 100


def test_correction_that_cannot_be_made_says_why():
    without_window = make_card(count_of(cells_of(3), model={"name": "x"}), performance=DETECTOR)["correction"]
    assert without_window["value"] is None
    assert "window_wh" in without_window["reason"]
    other = Performance(**{**vars(DETECTOR), "target": "WBC"})
    assert "tested on class 'WBC'" in make_card(count_of(model=MODEL), performance=other)["correction"]["reason"]


def test_clumps_were_not_judged_and_doubtful_cells_were():
    doubtful = CountedCell((0, 900, 20, 920), "unidentified", 0.3, 12.0, ("doubtful",), {"window": 0})
    cells = in_order([*cells_of(10, 89, 7), doubtful])
    correction = make_card(count_of(cells, route="classify"), performance=CLASSIFIER)["correction"]
    assert correction["cells_judged"] == 100


def test_model_tested_at_another_threshold_corrects_nothing():
    other = Performance(**{**vars(CLASSIFIER), "threshold": 0.6})
    correction = make_card(count_of(cells_of(3), route="classify"), performance=other)["correction"]
    assert (correction["value"], correction["low"]) == (None, None)
    assert "tested at a threshold of 0.6 (youden), counted at 0.4" in correction["reason"]


def test_test_of_a_model_says_nothing_of_a_rule():
    correction = make_card(count_of(cells_of(3), route="imfish"), performance=CLASSIFIER)["correction"]
    assert "a rule on measurements decides" in correction["reason"]


def test_corrections_of_several_slides_are_pooled_and_not_added():
    corrections = [
        make_card(count_of(cells_of(n, 100 - n), name=str(n), route="classify"), performance=CLASSIFIER)["correction"]
        for n in (0, 10)
    ]
    pooled = pooled_correction(corrections, 10, 0.95)
    assert pooled["value"] == pytest.approx((10 - 1.0) / 0.895)
    assert pooled["cells_judged"] == 200
    assert pooled_correction([corrections[0], None], 10, 0.95) is None
    assert pooled_correction([corrections[0], {**corrections[1], "false_positives": 7}], 10, 0.95) is None
    assert pooled_correction([], 0, 0.95) is None


def test_card_survives_the_file_and_has_no_clock(tmp_path):
    card = card_of(3, name="a", volume_ml=7.5, patient="P1")
    paths = [write_card(tmp_path / name / "count.json", card) for name in ("x", "y")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert read_card(paths[0]) == json.loads(json.dumps(card)) == card


def test_card_holds_only_what_json_has():
    plain = plain_json({"a": np.float32(0.5), 2: (np.int64(3), math.nan), "p": Path("x/y"), "z": np.zeros((1, 2))})
    assert plain == {"a": 0.5, "2": [3, None], "p": "x/y", "z": [[0.0, 0.0]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": None}, "is no count card"),
        ({"schema_version": 99}, "`schema_version` 99 is not 1"),
        ({"area": None}, "lacks area"),
    ],
)
def test_file_that_is_no_card(tmp_path, change, message):
    path = tmp_path / "count.json"
    write_json(path, {**card_of(1, name="a"), **change})
    with pytest.raises(SlideError, match=message):
        read_card(path)


def test_card_that_is_not_there(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_card(tmp_path / "count.json")


def detector_metrics(**changes):
    point = {"score_thr": 0.3, "TP": 9, "FP": 2, "FN": 1}
    classes = {"CTC": {"at_frozen_thr": point, "at_score_thr": {**point, "score_thr": 0.5, "TP": 7, "FN": 3}}}
    return {"target": "CTC", "images": 12, "operating_point_source": "frozen", "per_class": classes, **changes}


def classifier_metrics():
    point = {"source": "chosen before", "threshold": 0.25, "TP": 30, "FP": 1, "FN": 2, "TN": 80}
    points = {"youden": point, "wanted_fpr": {"source": "x", "threshold": None, "reason": "none reaches it"}}
    return {"target": "CTC", "operating_points": points}


def test_performance_of_a_detector(tmp_path):
    write_json(tmp_path / "metrics.json", detector_metrics())
    frozen = read_performance(tmp_path)
    assert (frozen.threshold, frozen.hits, frozen.truths, frozen.false_positives, frozen.images) == (0.3, 9, 10, 2, 12)
    assert read_performance(tmp_path / "metrics.json", "score_thr").hits == 7
    assert frozen.images_area_px is None
    for area in (None, 12 * 320 * 200):
        write_json(tmp_path / "metrics.json", detector_metrics(images_area_px=area))
        assert read_performance(tmp_path).images_area_px == area


def test_performance_of_a_classifier(tmp_path):
    write_json(tmp_path / "metrics.json", classifier_metrics())
    found = read_performance(tmp_path)
    assert (found.threshold, found.hits, found.truths, found.false_positives, found.others) == (0.25, 30, 32, 1, 81)
    with pytest.raises(SlideError, match=r"no result at 'wanted_fpr'; there are youden"):
        read_performance(tmp_path, "wanted_fpr")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"target": "CTC"}, "is no metrics.json"),
        (detector_metrics(images=0), "0 images; both must be at least 1"),
        (detector_metrics(per_class={"CTC": {"at_score_thr": {"score_thr": 0.5, "TP": 0, "FP": 1, "FN": 0}}}), "0 CTC"),
        (detector_metrics(per_class={"CTC": {}}), "has no result at 'score_thr'"),
    ],
)
def test_performance_that_cannot_be_used(tmp_path, content, message):
    write_json(tmp_path / "metrics.json", content)
    with pytest.raises(SlideError, match=message):
        read_performance(tmp_path)
