"""Figures of a summary: mean and SD, mean ROC, pools of predictions and of detections, learning curves, reports."""

import json
import math
import re

import numpy as np
import pytest
from mmengine.config import Config
from sklearn.metrics import roc_auc_score

from ctc_mm.datasets.split_files import Fold
from ctc_mm.engine.cross_validation.cell_summary import binary_options, summarise_cells
from ctc_mm.engine.cross_validation.drawing import draw_folds_pr, draw_learning
from ctc_mm.engine.cross_validation.image_summary import headline, summarise_images
from ctc_mm.engine.cross_validation.plan import PlannedFold, changes_between
from ctc_mm.engine.cross_validation.report import render_html, render_markdown
from ctc_mm.engine.cross_validation.results import FoldResult, pool_pr_curves, read_pr_curves
from ctc_mm.engine.cross_validation.section import Picture, Section, Table, shown_spread
from ctc_mm.engine.cross_validation.statistics import mean_roc
from ctc_mm.engine.curves.learning_curves import curves_csv, drawn_names, mean_curves, read_curves
from ctc_mm.engine.runs.run_config import config_identity, run_config, write_config
from ctc_mm.engine.runs.single_run import describe_failure, tail
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.binary_evaluation import BinaryOptions, binary_counts
from ctc_mm.evaluation.functional import PRCurve, average_precision
from ctc_mm.evaluation.functional.spread import Spread, mean_sd
from ctc_mm.evaluation.predictions import Predictions

OPTIONS = BinaryOptions(n_resamples=100)


@pytest.mark.parametrize(
    ("values", "expected", "text"),
    [
        ([], (math.nan, math.nan, 0, 0), "-"),
        ([math.nan, None], (math.nan, math.nan, 0, 2), "- (0 of 2)"),
        ([0.5], (0.5, math.nan, 1, 0), "0.500"),
        ([0.2, math.nan, 0.4], (0.3, math.sqrt(0.02), 2, 1), "0.300 ± 0.141 (2 of 3)"),
        ([1.0, 2.0, 3.0], (2.0, 1.0, 3, 0), "2.000 ± 1.000"),
    ],
    ids=["none", "undefined", "one", "some", "all"],
)
def test_mean_and_sd_count_what_is_undefined(values, expected, text):
    spread = mean_sd(values)
    assert (spread.n, spread.n_undefined) == expected[2:]
    np.testing.assert_allclose((spread.mean, spread.sd), expected[:2])
    assert shown_spread(spread) == text
    assert json.loads(json.dumps(spread.to_json(), allow_nan=False))["folds"] == expected[2]
    assert Spread(*expected).to_json() == pytest.approx(spread.to_json(), nan_ok=True)


def test_mean_roc_of_known_curves():
    assert mean_roc([]) is None
    perfect, chance = (np.array([0.0, 1.0]), np.array([1.0, 1.0])), (np.array([0.5, 1.0]), np.array([0.5, 1.0]))
    mean = mean_roc([perfect, chance], points=5)
    np.testing.assert_allclose(mean.fpr, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(mean.mean, [0.5, 0.625, 0.75, 0.875, 1])
    np.testing.assert_allclose(mean.sd, np.array([1, 0.75, 0.5, 0.25, 0]) / math.sqrt(2))
    # Between its points a curve that rises upright stays level.
    steps = mean_roc([(np.array([0.0, 0.5, 0.5, 1.0]), np.array([0.2, 0.2, 0.8, 1.0]))], points=5)
    np.testing.assert_allclose(steps.mean, [0.2, 0.2, 0.8, 0.9, 1])
    assert np.isnan(steps.sd).all()


def predictions(gt, score, group, diameter=None):
    n = len(gt)
    text = np.array([f"{group}{i}" for i in range(n)])
    gt, score = np.array(gt), np.array(score, float)
    return Predictions(
        cell_id=text, channel=np.full(n, "brightfield"), group=np.full(n, group), source=text, path=text,
        box_xyxy=np.full((n, 4), np.nan), label=np.where(gt == 1, "CTC", "WBC"), gt=gt, pred=(score >= 0.5).astype(int),
        score=score, calibrated=score, logit=np.log(score / (1 - score)), diameter_px=np.full(n, np.nan),
        diameter_um=np.full(n, np.nan) if diameter is None else np.array(diameter, float),
    )  # fmt: skip


def result(name, found, thresholds, values=None, repeat=0, size=None):
    fold = PlannedFold(name=name, title=name, repeat=repeat, seed=0, ids=Fold(name, (), (), ()))
    auc = roc_auc_score(found.gt, found.score) if 0 < found.gt.sum() < len(found) else math.nan
    values = {"AUC": auc, "size_AUC": 0.5, **(values or {})}
    metrics = {"classes": ["CTC", "WBC"], "target": "CTC", "operating_point": {"thresholds": thresholds},
               "size_baseline": size or {}}  # fmt: skip
    return FoldResult(fold, metrics, values, {}, {}, found, {})


FIRST = predictions([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1], "A", [12, 9, 8, 7])
SECOND = predictions([1, 0, 0], [0.7, 0.8, 0.2], "B", [10, 11, 6])
LONE = predictions([0, 0], [0.3, 0.55], "C", [5, 6])  # no CTC: its patient had none
THRESHOLDS = {"youden": 0.35, "wanted_sensitivity": 0.5, "wanted_fpr": None}


def test_pooled_cells_have_each_folds_own_thresholds():
    folds = [
        result("fold_0", FIRST, THRESHOLDS, size={"TP": 2, "FP": 1, "FN": 0, "TN": 1}),
        result("fold_1", SECOND, {**THRESHOLDS, "youden": 0.75}, size={"TP": 1, "FP": 1, "FN": 0, "TN": 1}),
        result("fold_2", LONE, {**THRESHOLDS, "youden": None}),
    ]
    section = summarise_cells(folds, OPTIONS)
    (pool,) = section.content["pooled"]
    assert section.content["final"] == []
    gt = np.concatenate([one.gt for one in (FIRST, SECOND, LONE)])
    score = np.concatenate([one.score for one in (FIRST, SECOND, LONE)])
    assert pool["AUC"]["value"] == pytest.approx(roc_auc_score(gt, score))
    counts = binary_counts(gt, score, 0.5)
    at = pool["operating_points"]["0.5"]
    assert [at[key] for key in ("folds", "TP", "FP", "FN", "TN")] == [3, counts.tp, counts.fp, counts.fn, counts.tn]
    assert at["sensitivity"]["interval"] == pytest.approx([0.0943, 0.9916], abs=1e-4)  # Clopper-Pearson of 2/3
    own = pool["operating_points"]["youden"]  # the first two folds: 0.35 finds 2 and 1 false, 0.75 none and 1 false
    assert [own[key] for key in ("folds", "TP", "FP", "FN", "TN")] == [2, 2, 2, 1, 2]
    assert own["F1"] is None  # not every fold has a threshold
    assert "wanted_fpr" not in pool["operating_points"]
    size = pool["size_baseline"]
    assert [size[key] for key in ("TP", "FP", "FN", "TN")] == [3, 2, 0, 2]
    assert size["AUC"]["value"] == pytest.approx(roc_auc_score(gt, [12, 9, 8, 7, 10, 11, 6, 5, 6]))
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["mean ± SD of folds"][1] == "0.625 ± 0.177 (2 of 3)"
    assert rows["pooled"][2] == "0.667 (2/3) [0.094, 0.992]"
    assert rows["size alone, pooled (threshold in 2 of 3 folds)"][-1] == f"{6 / 8:.3f}"
    assert "1 folds lack a class" in section.pictures[0].caption
    assert [picture.png[:4] for picture in section.pictures] == [b"\x89PNG"] * 3
    assert section.files["roc_mean.csv"].splitlines()[0] == "fpr,mean_sensitivity,sd"
    assert {line.split(",")[0] for line in section.files["roc.csv"].splitlines()[1:]} == {
        "all folds", "size alone", "fold_0", "fold_1", "fold_2",
    }  # fmt: skip
    assert summarise_cells(folds, OPTIONS).pictures[0].png == section.pictures[0].png


def test_repeats_and_the_final_test_are_pools_of_their_own():
    folds = [
        result("fold_0", FIRST, THRESHOLDS),
        result("fold_1", SECOND, THRESHOLDS, repeat=1),
        result("final", LONE, THRESHOLDS),
    ]
    content = summarise_cells(folds, OPTIONS).content
    assert [one["title"] for one in content["pooled"]] == ["pooled, repeat 0", "pooled, repeat 1"]
    assert [one["samples"] for one in content["pooled"]] == [4, 3]
    (final,) = content["final"]
    assert (final["title"], final["AUC"]["value"], final["AUC"]["interval"]) == ("final", None, None)


def test_options_of_the_metric_are_taken_over():
    config = Config(dict(test_evaluator=[dict(type="ctc_mm.CTCBinaryMetric", wbc_per_ml=7.0, out_dir="x")]))
    assert binary_options(config) == BinaryOptions(wbc_per_ml=7.0)
    assert binary_options(Config(dict(test_evaluator=dict(type="CocoMetric")))) == BinaryOptions()


def pr(scores, hits, n_truth):
    hits = np.array(hits, bool)
    return PRCurve(np.array(scores, float), np.cumsum(hits), np.cumsum(~hits), n_truth)


def test_pooled_detections_are_those_of_all_folds_sorted():
    first, second, none = pr([0.9, 0.5], [1, 0], 2), pr([0.8, 0.5], [0, 1], 1), pr([], [], 3)
    pooled = pool_pr_curves([first, second, none])
    np.testing.assert_array_equal(pooled.score, [0.9, 0.8, 0.5])
    np.testing.assert_array_equal(pooled.tp, [1, 1, 2])
    np.testing.assert_array_equal(pooled.fp, [0, 1, 2])
    assert pooled.n_truth == 6
    assert average_precision(pooled) == pytest.approx(1 / 6 + 1 / 12)
    assert pool_pr_curves([none]).score.size == 0


def detector(name, curves, counts, values):
    fold = PlannedFold(name=name, title=name, repeat=0, seed=0, ids=Fold(name, (), (), ()))
    at = dict(zip(("TP", "FP", "FN"), counts, strict=True))
    per_class = {"CTC": {"truth": curves["CTC"].n_truth, "at_score_thr": at, "at_frozen_thr": None}}
    return FoldResult(fold, {"classes": ["CTC"], "target": "CTC", "per_class": per_class}, values, {}, {}, None, curves)


def test_detection_folds_are_summed_up():
    folds = [
        detector("fold_0", {"CTC": pr([0.9, 0.5], [1, 0], 2)}, (1, 1, 1), {"AP50_CTC": 0.5}),
        detector("fold_1", {"CTC": pr([0.8], [1], 1)}, (1, 0, 0), {"AP50_CTC": 1.0}),
    ]
    section = summarise_images(folds)
    found = section.content["pooled"][0]["classes"]["CTC"]
    assert found["AP50"] == pytest.approx(2 / 3)
    assert [found["at_score_thr"][key] for key in ("TP", "FP", "FN", "folds")] == [2, 1, 1, 2]
    assert found["at_score_thr"]["recall"]["value"] == pytest.approx(2 / 3)
    assert found["at_frozen_thr"] is None
    (row,) = section.tables[0].rows
    assert row[:9] == ("CTC", "3", "0.667", "0.750 ± 0.354", "fixed", "2", "1", "1", "0.667 (2/3) [0.094, 0.992]")
    assert section.files["pr.csv"].splitlines()[0] == "class,score,precision,recall,f1,tp,fp"
    assert headline(folds[0].metrics)[:2] == ["mAP50", "AP50_CTC"]
    empty = {"CTC": pr([], [], 0)}
    assert draw_folds_pr({"CTC": [empty["CTC"]]}, empty, "nothing")[:4] == b"\x89PNG"


def test_pr_curves_are_read_as_the_metric_writes_them(tmp_path):
    header = "score,precision,recall,f1,tp,fp,fn\n"
    (tmp_path / "pr_CTC.csv").write_text(header + "0.75,1.0,0.5,0.6,1,0,1\n0.5,0.5,0.5,0.5,1,1,1\n")
    (tmp_path / "pr_WBC.csv").write_text(header)
    metrics = {"classes": ["CTC", "WBC"], "per_class": {"CTC": {"truth": 2}, "WBC": {"truth": 5}}}
    curves = read_pr_curves(tmp_path, metrics)
    assert (curves["CTC"].score.tolist(), curves["CTC"].fp.tolist(), curves["CTC"].n_truth) == ([0.75, 0.5], [0, 1], 2)
    assert (curves["WBC"].score.size, curves["WBC"].n_truth) == (0, 5)


def write_scalars(model, start, lines):
    folder = model / start / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("\n".join(json.dumps(line) for line in lines) + '\n{"loss": 9, "ep')


def loss(value, epoch):
    return {"loss": value, "epoch": epoch, "step": 10 * epoch}


def auc(value, epoch):
    return {"ctc/AUC": value, "step": epoch}


def test_learning_curves_are_read_averaged_and_drawn(tmp_path):
    first = [loss(3.0, 1), loss(2.0, 1), loss(1.5, 2), auc(0.5, 1), auc(0.6, 2)]
    write_scalars(tmp_path / "a", "20260101_000000", first)
    write_scalars(tmp_path / "a", "20260102_000000", [loss(1.0, 2), auc(math.nan, 2)])
    write_scalars(tmp_path / "b", "20260101_000000", [loss(4.0, 1), auc(0.7, 1)])
    folds = {name: read_curves(tmp_path / name) for name in ("a", "b", "none")}
    assert folds["a"]["loss"] == {1: 2.0, 2: 1.0}  # the last of an epoch, of the later start
    assert folds["none"] == {}
    means = mean_curves(list(folds.values()))
    assert (means["loss"].epochs, means["loss"].mean, means["loss"].n) == ((1, 2), (3.0, 1.0), (2, 1))
    assert means["loss"].sd[0] == pytest.approx(math.sqrt(2))
    assert means["ctc/AUC"].n == (2, 0)
    assert drawn_names(means) == ["loss", "ctc/AUC"]
    lines = curves_csv(folds, means).splitlines()
    assert lines[0] == "name,epoch,mean,sd,n,a,b,none"
    assert lines[2] == "loss,2,1.0,,1,1.0,,"
    png = draw_learning(list(folds.values()), means, drawn_names(means))
    assert png[:4] == b"\x89PNG"
    assert drawn_names(mean_curves([{}])) == []


HOSTILE = '<img src=x onerror="alert(1)"> | [click](javascript:x)'


def test_reports_hold_what_names_hold_as_text():
    table = Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"),), note=HOSTILE)
    sections = [Section(tables=[table], pictures=[Picture("a.png", b"png", HOSTILE)])]
    html = render_html(HOSTILE, [HOSTILE], sections)
    assert "<img src=x" not in html
    assert html.count("<img ") == 1
    assert "data:image/png;base64,cG5n" in html
    markdown = render_markdown(HOSTILE, [HOSTILE], sections)
    assert "<img" not in markdown
    assert "[click]" not in markdown.replace("\\[click]", "")
    row = next(line for line in markdown.splitlines() if line.endswith("| 1 |"))
    assert row.replace("\\|", "").count("|") == 3
    assert "![" in markdown


def fold_of(**changes):
    config = dict(
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", max_keep_ckpts=1)),
        randomness=dict(deterministic=True),
        visualizer=dict(type="UniversalVisualizer"), work_dir="w", data_root="here", a=(1, dict(b=[1.5, None, "x"])),
    )  # fmt: skip
    return Config({**config, **changes})


def test_fold_config_can_be_resumed_and_read_back(tmp_path):
    config = fold_of()
    made = run_config(config, 5, tmp_path / "model")
    assert (made.randomness.seed, made.randomness.deterministic) == (5, True)
    assert made.default_hooks.checkpoint.max_keep_ckpts == 2
    assert made.visualizer.vis_backends == [dict(type="LocalVisBackend")]
    assert made.custom_hooks == [dict(type="ctc_mm.FinishedEpochHook")]
    assert "seed" not in config.randomness  # the run's own is left alone
    write_config(tmp_path / "config.py", made)
    assert Config.fromfile(tmp_path / "config.py").to_dict() == made.to_dict()
    made.model = dict(type=dict)  # no literal: MMEngine writes it
    write_config(tmp_path / "config.py", made)
    assert Config.fromfile(tmp_path / "config.py").model.type in (dict, "builtins.dict")
    with pytest.raises(ConfigError, match="no `default_hooks.checkpoint`"):
        run_config(fold_of(default_hooks=dict(checkpoint=None)), 0, tmp_path)


def test_config_identity_tells_values_not_places():
    identity = config_identity(fold_of())
    assert (identity["a.0"], identity["a.1.b"]) == ("1", "[1.5, None, 'x']")
    assert config_identity(fold_of(work_dir="x", data_root="elsewhere")) == identity
    changed = config_identity(fold_of(randomness=dict(deterministic=False)))
    former = {"config": identity, "data": "d", "splits": {"fold_0": "s"}, "options": {}}
    plan = {**former, "config": changed}
    assert changes_between(former, former) == []
    assert changes_between(former, plan) == ["the config changed (randomness.deterministic was True, is False)"]
    assert changes_between(former, {**former, "splits": {"fold_0": "s", "fold_1": "t"}}) == []  # an addition
    assert changes_between(former, {**former, "splits": {}, "options": {"folds": 2}}) == [
        "the division changed (folds was None, is 2)"
    ]


@pytest.mark.parametrize(
    ("code", "log", "message"),
    [
        (1, "", r"its training ended with code 1\n"),
        (-9, "x", r"was killed by signal 9\n  where nobody killed it, memory ran out: fewer --jobs"),
        (1, "error: a b\nlater", r"ended with code 1: error: a b"),
        (1, "ValueError: Expected more than 1 value per channel when training", r"drop_last=True"),
        (1, "RuntimeError: CUDA out of memory", r"fewer --jobs, or a smaller batch"),
    ],
    ids=["silent", "killed", "error_line", "batch_of_one", "memory"],
)
def test_failures_are_told_with_their_cure(tmp_path, code, log, message):
    path = tmp_path / "train.log"
    if log:
        path.write_text("a\n\n" * 20 + log + "\n")
    assert re.search(message, describe_failure("training", code, path))
    assert len(tail(path)) <= 12
