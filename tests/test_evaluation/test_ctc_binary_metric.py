import csv
import json
import math
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score, roc_auc_score

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation import binary_report
from ctc_mm.evaluation.operating_point import published_operating_point
from ctc_mm.evaluation.predictions import read_predictions
from ctc_mm.imaging.io import write_image

META = {"classes": ("CTC", "WBC")}
FILES = {
    "metrics.json", "predictions.csv", "roc.csv", "roc.png", "pr.csv", "pr.png", "confusion.csv", "confusion.png",
    "reliability.csv", "reliability.png", "misjudged.html", "misjudged.png",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_message_hub(request):
    MessageHub.get_instance(request.node.name)  # the latest one is the current one


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves the drawing out where a test looks at numbers."""
    for name in ("draw_roc", "draw_pr", "draw_confusion", "draw_reliability", "draw_misjudged"):
        monkeypatch.setattr(binary_report, name, lambda *_: b"")


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def cell(label, score, **meta):
    """An evaluated sample; ``score``: probability of class 0, or of every class."""
    scores = (score, 1 - score) if isinstance(score, float) else score
    sample = DataSample(metainfo=meta)
    return sample.set_gt_label(label).set_pred_score(torch.tensor(scores))


def cells(n=120, seed=0, **meta):
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(n):
        label = int(rng.random() < 0.7)
        score = float(1 / (1 + np.exp(-rng.normal(2 - 4 * label, 2.5))))
        known = {
            "img_path": f"{index}.png", "cell_id": f"cell{index:03d}", "channel": "brightfield",
            "group": f"P{index % 12}", "source": "slide.tif", "box_xyxy": (index, 2.5, index + 30.0, 40.0),
            "diameter_px": float(rng.normal(20 - 4 * label, 3)), "diameter_um": None, "sample_idx": index,
        }  # fmt: skip
        samples.append(cell(label, score, **{**known, **meta}))
    return samples


def evaluate(samples, meta=META, size=None, **options):
    evaluator = Evaluator({"type": "ctc_mm.CTCBinaryMetric", "n_resamples": 200, **options})
    evaluator.dataset_meta = meta
    evaluator.process(samples)
    return evaluator.evaluate(len(samples) if size is None else size)


def read_json(path):
    return json.loads((path / "metrics.json").read_text(encoding="utf-8"))


def test_empty_set_is_an_error_that_says_so():
    with pytest.raises(ConfigError, match="no cell was evaluated; the data set of this evaluation is empty"):
        evaluate([])


def test_single_cell(tmp_path):
    values = evaluate([cell(0, 0.75)], out_dir=tmp_path)
    assert values["ctc/sensitivity"] == 1.0
    assert values["ctc/balanced_log_loss"] == pytest.approx(-math.log(0.75))
    assert values["ctc/ECE"] == pytest.approx(0.25)
    assert math.isnan(values["ctc/AUC"])
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert read_json(tmp_path)["values"]["AUC"] is None


def test_values_are_those_of_scikit_learn():
    samples = cells()
    gt = np.array([int(sample.gt_label == 0) for sample in samples])
    score = np.array([float(sample.pred_score[0]) for sample in samples])
    values = evaluate(samples)
    assert values["ctc/AUC"] == pytest.approx(roc_auc_score(gt, score))
    assert values["ctc/AP"] == pytest.approx(average_precision_score(gt, score))
    assert values["ctc/sensitivity"] == np.mean(score[gt == 1] >= 0.5)
    assert values["ctc/specificity"] == np.mean(score[gt == 0] < 0.5)
    losses = -np.log(np.where(gt == 1, score, 1 - score))
    assert values["ctc/balanced_log_loss"] == pytest.approx((losses[gt == 1].mean() + losses[gt == 0].mean()) / 2, 1e-5)
    assert values["ctc/log_loss"] == pytest.approx(losses.mean(), 1e-5)
    assert 0.6 < values["ctc/size_AUC"] < 1


@pytest.mark.parametrize("label", [0, 1], ids=["only CTC", "only WBC"])
def test_one_class_absent_is_defined_where_it_can_be(tmp_path, label, log, no_pictures):
    samples = [sample for sample in cells() if int(sample.gt_label) == label]
    values = evaluate(samples, out_dir=tmp_path)
    assert math.isfinite(values["ctc/balanced_log_loss"])
    assert math.isfinite(values["ctc/accuracy"])
    assert math.isnan(values["ctc/AUC"])
    assert math.isnan(values["ctc/specificity" if label == 0 else "ctc/sensitivity"])
    assert "no threshold by the rule 'youden'" in log.text
    point = published_operating_point()
    assert (point["temperature"], point["thresholds"]["youden"]) == (1.0, None)
    content = read_json(tmp_path)
    assert content["operating_points"]["youden"]["threshold"] is None
    assert "cell to choose it on" in content["operating_points"]["youden"]["reason"]
    assert content["size_baseline"]["threshold"] is None
    later = evaluate(cells(seed=1), operating_point=point)
    assert math.isnan(later["ctc/F1@youden"])


def test_validation_chooses_and_test_applies_it_unchanged(tmp_path, no_pictures):
    values = evaluate(cells(seed=0), out_dir=tmp_path / "val", wanted_sensitivity=0.9, wanted_fpr=0.1)
    point = published_operating_point()
    assert point["kind"] == "classification"
    assert (point["target"], point["n_target"] + point["n_rest"]) == ("CTC", 120)
    assert values["ctc/sensitivity@wanted_sensitivity"] >= 0.9
    assert values["ctc/specificity@wanted_fpr"] >= 0.9
    tested = evaluate(cells(seed=1), out_dir=tmp_path / "test", operating_point=ConfigDict(point))
    assert published_operating_point() == point  # a test publishes nothing
    assert tested["ctc/threshold@youden"] == point["thresholds"]["youden"]
    assert tested["ctc/temperature"] == point["temperature"]
    val, test = read_json(tmp_path / "val"), read_json(tmp_path / "test")
    assert val["operating_point_source"] == "chosen on these cells: flattering, for choosing only"
    assert test["operating_point_source"] == "chosen before, applied unchanged"
    assert val["operating_point"] == test["operating_point"] == point
    assert test["operating_points"]["wanted_fpr"]["rule"] == "lowest threshold with false-positive rate <= 0.1"
    assert test["size_baseline"]["threshold"] == point["size_thr"]
    assert test["size_baseline"]["unit"] == "px"
    table = read_predictions(tmp_path / "test" / "predictions.csv")
    called = table.score >= point["thresholds"]["youden"]
    counted = test["operating_points"]["youden"]
    assert counted["TP"] == int((called & (table.gt == 1)).sum())
    assert counted["FP"] == int((called & (table.gt == 0)).sum())
    np.testing.assert_allclose(table.calibrated, 1 / (1 + np.exp(-table.logit / point["temperature"])))


def test_without_a_point_a_test_reports_at_a_half_and_says_so(tmp_path, no_pictures):
    values = evaluate(cells(), out_dir=tmp_path, operating_point=None)
    assert published_operating_point() is None
    assert not [name for name in values if "@" in name]
    assert "ctc/F1" in values
    content = read_json(tmp_path)
    assert list(content["operating_points"]) == ["0.5"]
    assert "no operating point came with the weights" in content["operating_point_source"]
    assert content["calibration"]["temperature"] is None
    assert content["size_baseline"]["threshold"] is None
    assert content["size_baseline"]["AUC"]["value"] == values["ctc/size_AUC"]
    assert np.isnan(read_predictions(tmp_path / "predictions.csv").calibrated).all()


def test_nothing_is_chosen_on_cells_of_the_test_split(log):
    values = evaluate(cells(split="test"))
    assert published_operating_point() is None
    assert not [name for name in values if "@" in name]
    assert "no operating point is chosen on them" in log.text


def test_metrics_json_has_counts_beside_rates_and_intervals(tmp_path, no_pictures):
    evaluate(cells(), out_dir=tmp_path, wbc_per_ml=1000)
    content = read_json(tmp_path)
    at_half = content["operating_points"]["0.5"]
    n_target, n_rest = content["samples_by_label"]["CTC"], content["samples_by_label"]["WBC"]
    assert at_half["TP"] + at_half["FN"] == n_target
    assert at_half["FP"] + at_half["TN"] == n_rest
    for name in ("sensitivity", "specificity", "precision", "accuracy"):
        rate = at_half[name]
        assert rate["value"] == rate["k"] / rate["n"]
        assert rate["interval"][0] < rate["value"] < rate["interval"][1]
    false = at_half["false_targets_per_ml"]
    assert false["value"] == pytest.approx(1000 * at_half["FP"] / n_rest)
    assert false["interval"] == [1000 * end for end in false["false_positive_rate"]["interval"]]
    for figure in (content["AUC"], at_half["F1"], content["size_baseline"]["AUC_gained_over_size"]):
        assert figure["interval_method"] == "bootstrap by group, percentile"
        assert (figure["units"], figure["resamples"]) == (12, 200)
        assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    assert content["AUC"]["value"] == content["values"]["AUC"]
    assert content["groups"] == 12


@pytest.mark.parametrize(
    ("meta", "unit", "note"),
    [
        ({"group": None}, "cell", "no groups are known"),
        ({"group": "P1"}, "cell", "all cells come from one group"),
        ({}, "group", ""),
    ],
    ids=["none", "one", "many"],
)
def test_what_the_bootstrap_draws_is_said(tmp_path, meta, unit, note, no_pictures):
    evaluate(cells(**meta), out_dir=tmp_path)
    said = read_json(tmp_path)["bootstrap"]
    assert said["unit"] == unit
    assert note in said["note"]


def test_channels_of_one_cell_stay_together_in_the_bootstrap(tmp_path, no_pictures):
    twins = [cell(k % 2, 0.3 + 0.1 * (k % 4), cell_id=f"c{k}", channel=name) for k in range(20) for name in "ab"]
    evaluate(twins, out_dir=tmp_path)
    content = read_json(tmp_path)
    assert (content["samples"], content["cells"], content["AUC"]["units"]) == (40, 20, 20)
    assert "exact intervals are too narrow" in content["exact_intervals_note"]


def test_folder_data_know_only_their_path(tmp_path, no_pictures):
    samples = [cell(index % 2, 0.2 + 0.1 * index, img_path=f"d/{index}.png") for index in range(6)]
    evaluate(samples, out_dir=tmp_path)
    table = read_predictions(tmp_path / "predictions.csv")
    assert table.cell_id.tolist() == [f"d/{index}.png" for index in range(6)]
    assert np.isnan(table.box_xyxy).all()
    assert read_json(tmp_path)["size_baseline"]["reason"].startswith("no cell has a known diameter")


def test_samples_that_a_sampler_repeats_count_once(log):
    samples = cells(50)
    once = evaluate(samples)
    again = evaluate([*samples, *samples[:7]])
    np.testing.assert_equal(again, once)
    assert "7 samples came twice" in log.text
    # Without anything that tells them apart, equal samples are different cells.
    assert evaluate([cell(0, 0.9)] * 3 + [cell(1, 0.2)])["ctc/accuracy"] == 1.0


def test_one_sample_with_two_truths_is_an_error():
    with pytest.raises(ConfigError, match=r"a\.png: came twice, with the labels 0 and 1"):
        evaluate([cell(0, 0.9, img_path="a.png"), cell(1, 0.9, img_path="a.png")])


def test_results_can_be_sent_between_processes():
    evaluator = Evaluator({"type": "ctc_mm.CTCBinaryMetric"})
    evaluator.process(cells(3))
    results = evaluator.metrics[0].results
    assert repr(pickle.loads(pickle.dumps(results))) == repr(results)


def test_order_of_the_samples_leaves_no_trace(tmp_path, no_pictures):
    samples = cells()
    first = evaluate(samples, out_dir=tmp_path / "a")
    assert evaluate(samples[::-1], out_dir=tmp_path / "b") == first
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_three_classes_one_against_the_rest(tmp_path, no_pictures):
    meta = {"classes": ("WBC", "CTC", "RBC"), "target": "CTC"}
    samples = [
        cell(0, (0.7, 0.2, 0.1)), cell(1, (0.1, 0.8, 0.1)), cell(2, (0.2, 0.6, 0.2)), cell(1, (0.4, 0.3, 0.3)),
    ]  # fmt: skip
    values = evaluate(samples, meta, out_dir=tmp_path)
    assert (values["ctc/sensitivity"], values["ctc/specificity"], values["ctc/AUC"]) == (0.5, 0.5, 0.75)
    content = read_json(tmp_path)
    assert content["samples_by_label"] == {"WBC": 1, "CTC": 2, "RBC": 1}
    called = content["operating_points"]["0.5"]["called_target_by_label"]
    assert called == {"CTC": {"samples": 2, "called": 1}, "RBC": {"samples": 1, "called": 1},
                      "WBC": {"samples": 1, "called": 0}}  # fmt: skip
    assert published_operating_point()["target"] == "CTC"


def test_logit_of_a_score_that_rounds_to_one_stays_apart():
    sure = cell(0, tuple(torch.softmax(torch.tensor([40.0, 0.0]), 0).tolist()), img_path="a")
    surer = cell(1, tuple(torch.softmax(torch.tensor([60.0, 0.0]), 0).tolist()), img_path="b")
    assert float(sure.pred_score[0]) == float(surer.pred_score[0]) == 1.0
    assert evaluate([sure, surer])["ctc/log_loss"] == pytest.approx(30, abs=1e-4)


def test_half_precision_scores():
    sample = cell(0, 0.9)
    sample.pred_score = torch.tensor([0.9, 0.1], dtype=torch.bfloat16)
    assert evaluate([sample])["ctc/sensitivity"] == 1.0


def test_same_result_same_bytes(tmp_path):
    image = (np.arange(900).reshape(30, 30) % 256).astype(np.uint8)
    samples = cells(40)
    for sample in samples:
        path = tmp_path / "images" / sample.img_path
        write_image(path, image)
        sample.set_metainfo({"img_path": str(path)})
    for folder in ("a", "b"):
        evaluate(samples, out_dir=tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert read_json(tmp_path / "a")["gallery"] == {"operating_point": "youden", "unreadable_images": []}


def test_images_that_cannot_be_read_are_named_in_log_and_json(tmp_path, log, no_pictures):
    samples = [cell(1, 0.9, img_path=str(tmp_path / "gone.png")), cell(0, 0.8)]
    evaluate(samples, out_dir=tmp_path, operating_point=None)
    (problem,) = read_json(tmp_path)["gallery"]["unreadable_images"]
    assert "gone.png: no such image file" in problem
    assert "not in the gallery of misjudged cells" in log.text


def test_tables_agree_with_metrics_json(tmp_path, no_pictures):
    evaluate(cells(), out_dir=tmp_path)
    content = read_json(tmp_path)
    with (tmp_path / "confusion.csv").open() as file:
        rows = {row["point"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        point = content["operating_points"][name]
        assert [int(row[key]) for key in ("tp", "fp", "fn", "tn")] == [point[key] for key in ("TP", "FP", "FN", "TN")]
        assert float(row["threshold"]) == point["threshold"]
    with (tmp_path / "roc.csv").open() as file:
        last = {row["curve"]: row for row in csv.DictReader(file)}
    assert set(last) == {"classifier", "size alone"}
    assert (float(last["classifier"]["fpr"]), float(last["classifier"]["sensitivity"])) == (1.0, 1.0)
    with (tmp_path / "reliability.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["cells"]) for row in rows if row["scores"] == "scores") == 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operating_point": "best"}, "`operating_point` must be 'auto', None or a point"),
        ({"operating_point": {"target": "CTC", "thresholds": {}}}, "kind='classification'"),
        ({"operating_point": {"kind": "classification", "target": "CTC"}}, "has the keys"),
        ({"wanted_sensitivity": 0}, "`wanted_sensitivity` must lie in"),
        ({"wanted_fpr": 1}, "`wanted_fpr` must lie in"),
        ({"wbc_per_ml": -1}, "`wbc_per_ml`"),
        ({"confidence": 95}, "`confidence`"),
        ({"n_resamples": 0}, "`n_resamples`"),
        ({"n_bins": 0}, "`n_bins`"),
        ({"gallery": -1}, "`gallery`"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        evaluate([cell(0, 0.9)], **options)


@pytest.mark.parametrize(
    ("samples", "meta", "message"),
    [
        ([cell(0, 0.9)], {}, "needs at least two `classes`"),
        ([cell(0, 0.9)], {"classes": ("CTC",)}, "at least two `classes`"),
        ([cell(0, 0.9)], {**META, "target": "RBC"}, "target 'RBC' is none of"),
        ([cell(0, (0.5, 0.25, 0.25), img_path="a.png")], META, r"a\.png: 3 scores and label 0.*num_classes` must be 2"),
        ([cell(2, 0.9)], META, "label 2"),
        ([cell(0, (0.9, 0.9))], META, "must be a softmax"),
        ([cell(0, (1.0,))], META, "at least two classes"),
        ([cell(0, (math.nan, math.nan), img_path="a.png")], META, r"a\.png: .*training diverged"),
        ([DataSample(metainfo={"img_path": "a.png"}).set_gt_label(0)], META, r"a\.png: carries no `pred_score`"),
        ([DataSample().set_pred_score(torch.tensor([0.5, 0.5]))], META, "needs one true label, has 0"),
        ([DataSample().set_gt_label([0, 1]).set_pred_score(torch.tensor([0.5, 0.5]))], META, "has 2"),
    ],
)
def test_bad_data_are_named(samples, meta, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(samples, meta)


def test_point_of_another_target_is_refused():
    evaluate(cells())
    point = published_operating_point()
    with pytest.raises(ConfigError, match="chosen for the target 'CTC', the data set's is 'WBC'"):
        evaluate(cells(), {**META, "target": "WBC"}, operating_point=point)
