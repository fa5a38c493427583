import io

import matplotlib.image
import matplotlib.pyplot
import numpy as np
import pytest

from ctc_mm.evaluation.binary_figures import (
    MODEL_COLOURS,
    draw_confusion,
    draw_pr,
    draw_reliability,
    draw_roc,
    named_curve,
)
from ctc_mm.evaluation.binary_tables import confusion_csv, pr_csv, reliability_csv, roc_csv
from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.calibration import reliability_bins

GT, SCORE = np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.5, 0.1])
MODEL = named_curve("net, large", GT, SCORE, {"half": 0.5})
NOBODY = named_curve("net", GT[1:2], SCORE[1:2], {"half": 0.5})


def pixels(png):
    return np.rint(255 * matplotlib.image.imread(io.BytesIO(png))[..., :3]).astype(int)


def has_colour(png, colour):
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((pixels(png) == wanted).all(axis=2).any())


@pytest.mark.parametrize("draw", [draw_roc, draw_pr])
def test_no_curve_and_an_undefined_one_still_make_a_picture(draw):
    assert draw([])[:4] == b"\x89PNG"
    undefined = draw([NOBODY])
    assert not has_colour(undefined, MODEL_COLOURS[0])
    assert undefined != draw([])  # it says what is missing


@pytest.mark.parametrize("draw", [draw_roc, draw_pr])
def test_models_have_colours_of_their_own_folds_and_size_are_grey(draw):
    two = draw([MODEL, named_curve("other", GT, 1 - SCORE)])
    assert has_colour(two, MODEL_COLOURS[0])
    assert has_colour(two, MODEL_COLOURS[1])
    grey = draw([named_curve("fold 0", GT, SCORE, kind="fold"), named_curve("size", GT, SCORE, kind="baseline")])
    assert not has_colour(grey, MODEL_COLOURS[0])


def test_title_marks_and_interval_show():
    plain = named_curve("net, large", GT, SCORE)
    interval = named_curve("net, large", GT, SCORE, auc_interval=(0.5, 0.9))
    pictures = [draw_roc([plain]), draw_roc([MODEL]), draw_roc([interval]), draw_roc([plain], "title")]
    assert len(set(pictures)) == 4
    assert MODEL.marks["half"] == (0.5, BinaryCounts(2, 1, 0, 1))


def test_pictures_bear_no_version_and_leave_no_figure_open():
    tables = {"fixed": (0.5, BinaryCounts(1, 2, 3, 4)), "empty": (None, BinaryCounts(0, 0, 0, 0))}
    bins = {"scores": (reliability_bins(GT, SCORE), 0.2), "none": (reliability_bins(GT[:0], SCORE[:0]), float("nan"))}
    for draw in (
        lambda: draw_roc([MODEL]),
        lambda: draw_pr([MODEL]),
        lambda: draw_confusion(tables, "CTC", "WBC"),
        lambda: draw_reliability(bins),
    ):
        png = draw()
        assert png == draw()
        assert b"Software" not in png
        assert pixels(png).std() > 1
    assert matplotlib.pyplot.get_fignums() == []


def test_confusion_colours_the_share_of_the_true_class():
    bright, dark = (draw_confusion({"a": (0.5, BinaryCounts(*counts))}, "CTC", "WBC") for counts in
                    ((0, 0, 10, 10), (10, 0, 0, 10)))  # fmt: skip
    # The first cell of the matrix: CTC called CTC, none of 10 and all of 10.
    corner = [pixels(png)[100, 60] for png in (bright, dark)]
    assert corner[0].sum() > 700
    assert corner[1].sum() < 300


def test_curve_tables_by_hand():
    assert roc_csv([MODEL]).splitlines() == [
        "curve,threshold,fpr,sensitivity,tp,fp,fn,tn",
        '"net, large",0.9,0.0,0.5,1,0,1,2',
        '"net, large",0.6,0.5,0.5,1,1,1,1',
        '"net, large",0.5,0.5,1.0,2,1,0,1',
        '"net, large",0.1,1.0,1.0,2,2,0,0',
    ]
    assert pr_csv([NOBODY]).splitlines() == [
        "curve,threshold,precision,sensitivity,f1,tp,fp,fn,tn",
        "net,0.6,0.0,,,0,1,0,0",
    ]


def test_confusion_and_reliability_tables_by_hand():
    header, row = confusion_csv({"half": (0.5, BinaryCounts(1, 0, 1, 2))}).splitlines()
    assert header.startswith("point,threshold,tp,fp,fn,tn,sensitivity,specificity,precision,F1,")
    assert row.startswith("half,0.5,1,0,1,2,0.5,1.0,1.0,0.6666666666666666,")
    lines = reliability_csv({"scores": (reliability_bins(GT, SCORE, 2), 0.1)}).splitlines()
    assert lines[0] == "scores,from,to,cells,target,mean_probability,observed,low,high"
    assert lines[1].startswith("scores,0.0,0.5,1,0,0.1,0.0,0.0,0.975")
    assert lines[2].startswith("scores,0.5,1.0,3,2,0.66666")
    assert reliability_csv({"s": (reliability_bins(GT[:0], SCORE[:0], 1), 0.1)}).splitlines()[1] == "s,0.0,1.0,0,0,,,,"
