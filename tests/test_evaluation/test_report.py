import io
import math

import matplotlib.image
import numpy as np
from random_sets import record

from ctc_mm.evaluation.functional import pr_curve, summarise_detection
from ctc_mm.evaluation.report import curve_csv, curve_files, draw_curves, json_number, per_iou_json

A, STRAY = [0, 0, 10, 10], [70, 70, 80, 80]


def test_csv_of_an_empty_curve_is_its_header():
    summary = summarise_detection([record()], ("CTC",))
    assert curve_csv(summary.per_class["CTC"].curve) == "score,precision,recall,f1,tp,fp,fn\n"


def test_csv_by_hand():
    matches = summarise_detection([record([A, STRAY], [0.75, 0.5], truth=[A, [20, 0, 30, 10]])], ("CTC",)).per_class
    assert curve_csv(pr_curve(matches["CTC"].matches)).splitlines()[1:] == [
        "0.75,1.000000,0.500000,0.666667,1,0,1",
        "0.5,0.500000,0.500000,0.500000,1,1,1",
    ]


def test_undefined_numbers_become_null():
    assert json_number(float("nan")) is None
    assert json_number(None) is None
    assert json_number(np.float64(0.5)) == 0.5


def test_classes_with_odd_names_get_files_of_their_own():
    assert curve_files(["CTC", "ctc", "a/b", "a b", "../x"]) == {
        "CTC": "pr_CTC.csv", "ctc": "pr_ctc_1.csv", "a/b": "pr_a_b.csv", "a b": "pr_a_b_3.csv", "../x": "pr__x.csv",
    }  # fmt: skip


def test_counts_fall_as_the_overlap_asked_for_rises():
    table = per_iou_json([record([[0, 0, 10, 8]], [0.9], truth=[A])], ("CTC",), 0.5)["CTC"]
    assert [table[f"{0.5 + 0.05 * step:.2f}"]["TP"] for step in range(10)] == [1] * 7 + [0] * 3
    assert (table["0.80"]["AP"], table["0.85"]["AP"]) == (1.0, 0.0)


def test_picture_marks_the_threshold_and_bears_no_version():
    image = record([A, STRAY], [0.75, 0.5], truth=[A, [20, 0, 30, 10]])
    best = draw_curves(summarise_detection([image], ("CTC", "WBC")))
    frozen = draw_curves(summarise_detection([image], ("CTC", "WBC"), frozen_thresholds={"CTC": 0.5}))
    assert b"Software" not in best
    assert best != frozen
    pixels = matplotlib.image.imread(io.BytesIO(best))
    assert pixels.shape == (600, 720, 4)
    assert draw_curves(summarise_detection([record()], ("CTC",)))[:4] == b"\x89PNG"
    assert math.isclose(float(pixels.max()), 1.0)
