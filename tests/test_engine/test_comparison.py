"""A comparison over its runs: nothing done twice, nothing mixed, failures do not spread, one table in order."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from tiny_comparison import ALL, FASTER, KEEPS, comparison_in
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.comparison import ComparisonOptions, RunsFailedError
from ctc_mm.errors import AnnotationError, CheckpointError, ConfigError
from ctc_mm.evaluation.detection_records import read_records
from ctc_mm.evaluation.functional import summarise_detection


@pytest.fixture
def comparison(tmp_path, monkeypatch):
    return comparison_in(tmp_path, monkeypatch)


def test_every_config_and_seed_runs_once_and_stands_in_one_table(comparison):
    result = comparison()
    assert comparison.calls() == ALL  # the first seed of all first
    assert sorted(comparison.bytes()) == ["comparison.csv", "comparison.json", "comparison.md", "comparison.png"]
    rows = result.content["models"]
    assert [(row["name"], row["seeds"]) for row in rows] == [("plain", [0, 1]), ("faster", [0, 1])]
    means = []
    for row in rows:
        summaries = []
        for seed in (0, 1):
            images = read_records(comparison.run(row["name"], seed) / "test" / "detections.npz").images
            summaries.append(summarise_detection(images, ("CTC", "WBC"), 0.5, 0.5, {"CTC": 0.4, "WBC": 0.6}))
        values = [one.mean_ap for one in summaries]
        figure = row["figures"]["mAP50"]
        assert figure["values"] == pytest.approx(values)
        assert (figure["mean"], figure["sd"]) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
        assert figure["interval"][0] <= figure["mean"] <= figure["interval"][1]
        recalls = [one.per_class["CTC"].at_frozen.recall for one in summaries]
        assert row["figures"]["recall_CTC@frozen"]["values"] == pytest.approx(recalls)
        assert row["training"]["wall_s"] == 60.0
        means.append(np.mean(values))
    assert rows[0]["difference"] == {}
    change = rows[1]["difference"]["mAP50"]
    assert change["estimate"] == pytest.approx(means[1] - means[0])
    assert change["interval"][0] < change["estimate"] < change["interval"][1]
    assert result.lines()[0].startswith("plain  ")


def test_table_tells_classes_first_and_what_intervals_leave_out(comparison):
    comparison()
    text = (comparison.out / "comparison.md").read_text()
    assert text.splitlines()[2] == "Classes: CTC, WBC (target: CTC). Images: 6 train, 6 val, 6 test."
    assert text.index("| plain |") < text.index("| faster |")
    assert "paired bootstrap over 6 test images (60 draws" in text
    assert "What it does not: other seeds" in text
    assert "6 of 6 test images are images of the train part too" in text
    assert "1.0 (1.5 CPU)" in text
    with (comparison.out / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((comparison.out / "comparison.json").read_text())
    assert [row["model"] for row in rows] == ["plain", "faster"]
    assert float(rows[1]["mAP50 difference"]) == content["models"][1]["difference"]["mAP50"]["estimate"]
    assert (rows[0]["mAP50 difference"], rows[0]["gflops"]) == ("", "")
    assert (comparison.out / "comparison.png").read_bytes() == b"drawn"


def test_finished_runs_are_never_repeated_and_more_seeds_and_configs_add_to_them(comparison):
    comparison()
    comparison.calls()
    before = comparison.bytes()
    comparison()
    assert comparison.calls() == []
    assert comparison.bytes() == before
    third = write_field_config(comparison.folder / "third.py", comparison.data, KEEPS)
    result = comparison([comparison.plain, third], seeds=(0, 1, 2), baseline="third")
    assert comparison.calls() == [
        "train third seed_0", "test third seed_0", "train third seed_1", "test third seed_1",
        "train plain seed_2", "test plain seed_2", "train third seed_2", "test third seed_2",
    ]  # fmt: skip
    # Equal configs and seeds: no difference on any draw.
    assert result.content["models"][0]["difference"]["mAP50"] == {
        "estimate": 0.0, "interval": [0.0, 0.0],
        "note": "every resample gives the same value: the interval cannot show the uncertainty; "
                "6 groups only: the interval is rough and tends to be too narrow",
    }  # fmt: skip


def test_failed_run_leaves_the_others_and_is_repeated(comparison):
    (comparison.out / "fail_faster_seed_1").touch()
    with pytest.raises(RunsFailedError, match=r"(?s)1 of 4 runs .*faster, seed 1: its training ended with code 1"):
        comparison()
    comparison.calls()
    rows = json.loads((comparison.out / "comparison.json").read_text())["models"]
    assert [(row["seeds"], row["seeds_without_result"]) for row in rows] == [([0, 1], []), ([0], [1])]
    text = (comparison.out / "comparison.md").read_text()
    assert "missing from every figure here: faster, seed 1." in text
    assert "| faster | 1 of 2 |" in text
    (comparison.out / "fail_faster_seed_1").unlink()
    comparison()
    assert comparison.calls() == ["train faster seed_1", "test faster seed_1"]


def test_without_any_result_there_is_a_table_that_says_so(comparison):
    for name in ("plain", "faster"):
        (comparison.out / f"fail_{name}_seed_0").touch()
    with pytest.raises(RunsFailedError, match="2 of 2 runs"):
        comparison(seeds=(0,))
    assert "| plain | 0 of 1 | - |" in (comparison.out / "comparison.md").read_text()


def test_changed_data_and_changed_configs_are_refused_with_both_named(comparison):
    comparison()
    comparison.calls()
    with pytest.raises(ConfigError, match=r"plain.seed_0: was trained with another config: .*was 2, is 5.*--again"):
        comparison(changes={"train_cfg.max_epochs": 5})
    labels = comparison.data / "set.json"
    text = labels.read_text()
    content = json.loads(text)
    content["annotations"][0]["bbox"][2] += 1
    labels.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"plan.json: holds results on other train data: .*set.json now holds"):
        comparison()
    labels.write_text(text)
    image = (comparison.data / "0.png").read_bytes()
    shutil.copy(comparison.data / "1.png", comparison.data / "0.png")
    with pytest.raises(ConfigError, match="other train data"):
        comparison()
    (comparison.data / "0.png").write_bytes(image)
    assert comparison.calls() == []
    comparison(changes={"train_cfg.max_epochs": 5}, again=True)
    assert comparison.calls() == ALL


def test_places_and_recording_hooks_are_no_other_config(comparison):
    comparison()
    comparison.calls()
    moved = shutil.copytree(comparison.data, comparison.folder / "elsewhere")
    here = write_field_config(comparison.folder / "sub_plain.py", moved, KEEPS)
    here = here.rename(comparison.folder / "elsewhere" / "plain.py")
    hooked = "custom_hooks = [dict(type='ctc_mm.ProgressHook')]\n"
    other = write_field_config(comparison.folder / "elsewhere" / "faster.py", moved, KEEPS + FASTER + hooked)
    comparison([here, other])
    assert comparison.calls() == []


def test_training_of_before_is_adopted_if_config_and_data_are_the_same(comparison):
    comparison()
    comparison.calls()
    for name in ("plain", "faster"):
        for path in ("run.json", "done.json", "test/detections.npz"):
            (comparison.run(name, 0) / path).unlink()
    (comparison.out / "plan.json").unlink()
    comparison()
    assert comparison.calls() == ["test plain seed_0", "test faster seed_0"]
    run = comparison.run("plain", 0)
    (run / "run.json").unlink()
    config = (run / "config.py").read_text()
    (run / "config.py").write_text(config.replace("'lr': 0.001", "'lr': 0.002"))
    with pytest.raises(ConfigError, match=r"another config: optim_wrapper.optimizer.lr was 0.002, is 0.001"):
        comparison()
    other = draw_fields(comparison.folder / "other", count=5)
    (run / "config.py").write_text(config.replace(str(comparison.data), str(other)))
    with pytest.raises(ConfigError, match=r"plain.seed_0: was trained on other train data \(digest"):
        comparison()
    (run / "config.py").unlink()
    with pytest.raises(ConfigError, match=r"without its config\.py"):
        comparison()


def test_given_weights_are_tested_and_not_trained(comparison):
    comparison([comparison.plain], seeds=(0,))
    comparison.calls()
    trained = comparison.folder / "trained"
    shutil.copytree(comparison.run("plain", 0) / "model", trained)
    weights = trained / "best_ctc_mAP50_epoch_2.pth"
    result = comparison(seeds=(0,), trained={"faster": (trained, weights)}, changes=None)
    assert comparison.calls() == ["test faster seed_0", "test faster seed_1"]
    assert [row["seeds"] for row in result.content["models"]] == [[0], [0, 1]]
    warnings = result.content["warnings"]
    assert any("faster: best_ctc_mAP50_epoch_2.pth has no config beside it" in one for one in warnings)
    assert comparison(seeds=(0,), trained={"faster": (trained, weights)}).content == result.content
    assert comparison.calls() == []
    content = torch.load(weights)
    next(iter(content["state_dict"].values())).add_(1.0)
    torch.save(content, weights)  # other weights: another test
    comparison(seeds=(0,), trained={"faster": (trained, weights)})
    assert comparison.calls() == ["test faster seed_0", "test faster seed_1"]
    with pytest.raises(ConfigError, match="was tested with .*give it again with --trained"):
        comparison(seeds=(0,))
    with pytest.raises(ConfigError, match="holds a training of its own, and --trained gives"):
        comparison(trained={"plain": (weights,)})


def test_weights_of_another_model_are_refused_before_training(comparison, tmp_path):
    weights = tmp_path / "other.pth"
    content = torch.load(comparison.out / "checkpoint.pth")
    for change, message in (
        ({"state_dict": {"a": torch.ones(1)}}, "other.pth"),
        ({"meta": {"dataset_meta": {"classes": ("RBC", "WBC")}}}, r"trained for the classes \['RBC', 'WBC'\]"),
        ({"state_dict": {"head.fc.weight": torch.ones(2, 2)}}, "holds the weights of a classifier"),
    ):
        torch.save(content | change, weights)
        with pytest.raises(CheckpointError, match=message):
            comparison(trained={"faster": (weights,)})
        assert comparison.calls() == []


def test_weights_trained_on_other_data_are_refused(comparison):
    trained = comparison.folder / "trained"
    trained.mkdir()
    shutil.copy(comparison.out / "checkpoint.pth", trained / "best_ctc_mAP50_epoch_2.pth")
    other = draw_fields(comparison.folder / "other", count=4)
    write_field_config(trained / "plain.py", other, KEEPS)
    with pytest.raises(ConfigError, match=r"this comparison and the training of .* read different train data"):
        comparison(trained={"plain": (trained,)})
    shutil.rmtree(other)
    result = comparison(trained={"plain": (trained,)})
    assert any("is not there to be compared" in one for one in result.content["warnings"])
    (trained / "best_ctc_mAP50_epoch_2.pth").unlink()
    with pytest.raises(CheckpointError, match="trained: holds no weights"):
        comparison(trained={"plain": (trained,)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data", r"plain and faster read different train data: .*6 images, 6 CTC, 6 WBC.*5 images, 5 CTC"),
        ("classes", r"faster has the classes \('WBC', 'CTC'\) with the target WBC, plain has \('CTC', 'WBC'\)"),
        ("scope", r"faster.py: is a classifier's config; tools/compare.py compares detectors.*cross_validate"),
        ("metric", r"no ctc_mm.CTCDetMetric in `test_evaluator`"),
        ("type", r"faster: train_dataloader reads VOCDataset"),
        (
            "indices",
            r"faster: train_dataloader takes a part of its file \(indices=3\); models are compared on whole files",
        ),
        ("filter", r"plain and faster read different train data: .*6 WBC; digest .*6 WBC; filter_cfg {'min_size': 60}"),
        ("half", r"faster.py: has no model, train_cfg; .*Give a whole config"),
    ],
)
def test_configs_that_cannot_be_compared_are_refused_before_training(comparison, change, message):
    faster = comparison.faster
    if change == "data":
        write_field_config(faster, draw_fields(comparison.folder / "other", count=5), KEEPS)
    extra = {
        "classes": "for part in (train_dataloader, val_dataloader, test_dataloader):\n"
                   "    part['dataset'].update(metainfo=dict(classes=('WBC', 'CTC')))\n",
        "scope": "default_scope = 'mmpretrain'\n",
        "indices": "test_dataloader.update(dataset=dict(test_dataloader['dataset'], indices=3))\n",
        "filter": "train_dataloader = dict(loader, dataset=dict(loader['dataset'], filter_cfg=dict(min_size=60)))\n",
        "half": "model, train_cfg = {}, {}\n",
        "metric": "test_evaluator = dict(type='CocoMetric')\n",
        "type": "train_dataloader.update(dataset=dict(type='VOCDataset', data_root='x/', ann_file='y.txt'))\n",
    }.get(change)  # fmt: skip
    if extra:
        write_field_config(faster, comparison.data, KEEPS + extra)
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        comparison()
    assert comparison.calls() == []


def test_mistakes_are_named(comparison):
    with pytest.raises(ConfigError, match="--baseline third: none of the configs has this name. There are: plain"):
        comparison(baseline="third")
    twin = write_field_config(comparison.data / "plain.py", comparison.data)
    with pytest.raises(ConfigError, match="several are called plain"):
        comparison([comparison.plain, twin])
    with pytest.raises(ConfigError, match="--trained third=...: none of the configs"):
        comparison(trained={"third": (comparison.out,)})
    for wrong in ({"seeds": ()}, {"seeds": (1, 1)}, {"batch_sizes": (2, 4)}, {"jobs": 0}, {"rounds": -1}):
        with pytest.raises(ConfigError, match="Received"):
            ComparisonOptions(**wrong)
    (comparison.out / "plan.json").unlink(missing_ok=True)
    shutil.rmtree(comparison.out / "runs")
    with pytest.raises(ConfigError, match=r"holds other files \(checkpoint.pth\), no comparison"):
        comparison()


def test_tests_of_different_images_do_not_mix(comparison):
    comparison()
    path = comparison.run("faster", 1) / "test" / "detections.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(AnnotationError, match=r"detections.npz: cannot be read as the predictions of a test"):
        comparison()


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("plan.json", "{", r"plan\.json: damaged .*Delete this file"),
        ("plan.json", "[]", r"plan\.json: damaged"),
        ("plan.json", '{"format": "ctc_mm comparison 1", "data": {"parts": {}}}', r"plan\.json: damaged .*'train'"),
        ("plan.json", '{"format": "ctc_mm comparison 0", "data": {}}', r"plan\.json: was written by another version"),
        ("runs/plain/seed_0/run.json", "{", r"seed_0.run\.json: damaged .*Delete this file"),
        ("runs/plain/seed_0/run.json", '{"identity": {}, "data": 3}', r"seed_0.run\.json: damaged"),
        ("runs/plain/seed_0/test/metrics.json", "[]", r"metrics\.json: cannot be read .*delete `done\.json`"),
        ("runs/plain/seed_0/test/metrics.json", '{"operating_point": 3}', r"metrics\.json: cannot be read"),
    ],
)
def test_damaged_notes_are_named_with_the_cure(comparison, path, content, message):
    comparison([comparison.plain], seeds=(0,))
    (comparison.out / path).write_text(content)
    with pytest.raises((ConfigError, AnnotationError), match=message):
        comparison([comparison.plain], seeds=(0,))
    if path.endswith(("plan.json", "run.json")):  # the cure that the message names
        (comparison.out / path).unlink()
        comparison([comparison.plain], seeds=(0,))


def test_finished_runs_count_without_their_weights_and_only_measuring_needs_them(comparison):
    before = comparison([comparison.plain], seeds=(0,)).content
    (comparison.run("plain", 0) / "model" / "best_ctc_mAP50_epoch_2.pth").unlink()
    assert comparison([comparison.plain], seeds=(0,)).content == before
    with pytest.raises(RunsFailedError, match=r"(?s)0 of 1 runs and 1 measurements.*best_ctc_mAP50.*pth.* is gone"):
        comparison([comparison.plain], seeds=(0,), rounds=1)


def test_a_training_cost_that_is_none_is_left_out(comparison):
    comparison([comparison.plain], seeds=(0,))
    (comparison.run("plain", 0) / "model" / "training_cost.json").write_text("[1]")
    assert comparison([comparison.plain], seeds=(0,)).content["models"][0]["training"]["recorded"] == 0


def test_what_cannot_be_trained_or_loaded_is_refused_before_anything_is_written(comparison):
    for epochs in (0, -3, 1.5, "two"):
        with pytest.raises(ConfigError, match=rf"plain\.py: train_cfg\.max_epochs must be .* Received: {epochs!r}"):
            comparison(changes={"train_cfg.max_epochs": epochs})
    with pytest.raises(ConfigError, match=r"a seed is at most 4294967295.* Received: 4294967296"):
        comparison(seeds=(0, 2**32))
    (comparison.folder / "damaged.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"damaged\.pth"):
        comparison(trained={"faster": (comparison.folder / "damaged.pth",)})
    assert not list((comparison.out / "runs").iterdir())
