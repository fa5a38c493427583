"""TSNEHook in real runs: a classifier and a detector, training, test, wrapped and averaged models."""

import csv
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from tiny_cells import draw_cells, write_config
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.hooks.tsne_hook import TSNEHook
from ctc_mm.engine.setup import register_all_modules
from ctc_mm.evaluation.operating_point import publish_operating_point
from ctc_mm.explain.features_classifier import classifier_features
from ctc_mm.explain.tsne_file import load_map
from ctc_mm.registry import HOOKS

FILES = ["map.npz", "metrics.json", "tsne.csv", "tsne.html", "tsne.png"]
QUICK = dict(layers=("conv5", "pre_logits"), perplexity=3, iterations=250)


@pytest.fixture(autouse=True)
def _no_point_left():
    yield
    publish_operating_point(None)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return write_config(folder / "tiny.py", draw_cells(folder / "set"))


def build(config_file, work_dir, hook=None, **changes):
    config = Config.fromfile(config_file)
    register_all_modules(config.default_scope)
    config.work_dir = str(work_dir)
    config.experiment_name = f"tsne_{work_dir.name}_{len(list(work_dir.parent.iterdir()))}"
    if hook is not None:
        config.custom_hooks.append(dict(type="ctc_mm.TSNEHook", **hook))
    config.merge_from_dict(changes)
    return Runner.from_cfg(config)


def test_maps_at_the_interval_and_after_the_test(config_file, tmp_path):
    out = tmp_path / "maps"
    runner = build(config_file, tmp_path / "run", dict(QUICK, interval=2, out_dir=str(out)))
    runner.train()
    assert sorted(path.name for path in out.iterdir()) == ["epoch_2"]
    runner.test()
    assert sorted(path.name for path in out.iterdir()) == ["epoch_2", "test"]
    for folder, count in (("epoch_2", 11), ("test", 15)):
        assert sorted(path.name for path in (out / folder).iterdir()) == FILES
        metrics = json.loads((out / folder / "metrics.json").read_text())
        assert list(metrics["layers"]) == ["conv5", "pre_logits"]
        assert metrics["layers"]["conv5"]["samples"] == count
        assert metrics["layers"]["conv5"]["kl_divergence"] > 0
        rows = list(csv.DictReader((out / folder / "tsne.csv").open()))
        assert len(rows) == count
    assert {row["group"] for row in rows} == {f"test_P{number}" for number in range(4)}
    # The map holds the features of the weights that were tested.
    saved = load_map(out / "test" / "map.npz").maps["pre_logits"]
    table = classifier_features(runner.model, runner.test_dataloader.dataset, ["pre_logits"])
    np.testing.assert_allclose(saved.projection(table.features["pre_logits"]), saved.features, atol=1e-5)


def test_training_goes_on_as_without_the_hook(config_file, tmp_path):
    mapped = build(
        config_file, tmp_path / "with", dict(QUICK, interval=1, layers=("conv5",), out_dir=str(tmp_path / "maps"))
    )
    mapped.train()
    plain = build(config_file, tmp_path / "without")
    plain.train()
    assert len(list((tmp_path / "maps").iterdir())) == 2
    weights = plain.model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in mapped.model.state_dict().items())
    assert not any(module._forward_hooks for module in mapped.model.modules())


def test_same_run_gives_the_same_map(config_file, tmp_path):
    for name in ("a", "b"):
        runner = build(config_file, tmp_path / name, dict(QUICK, out_dir=str(tmp_path / f"maps_{name}")))
        runner.test()
    for name in ("map.npz", "tsne.csv"):
        pair = [(tmp_path / f"maps_{run}" / "test" / name).read_bytes() for run in ("a", "b")]
        assert pair[0] == pair[1]


def test_averaged_weights_are_mapped_since_they_were_validated(config_file, tmp_path):
    hook = dict(QUICK, interval=1, layers=("pre_logits",), out_dir=str(tmp_path / "maps"))
    runner = build(config_file, tmp_path / "run", hook)
    averaging = EMAHook(momentum=0.5)
    runner.register_hook(averaging)
    runner.train()
    saved = load_map(tmp_path / "maps" / "epoch_2" / "map.npz").maps["pre_logits"]
    dataset = runner.val_dataloader.dataset
    averaged, trained = (
        saved.projection(classifier_features(model, dataset, ["pre_logits"]).features["pre_logits"])
        for model in (averaging.ema_model.module, runner.model)
    )
    np.testing.assert_allclose(averaged, saved.features, atol=1e-5)
    assert np.abs(trained - saved.features).max() > 1e-3


def test_only_the_main_process_writes(config_file, tmp_path, monkeypatch):
    runner = build(config_file, tmp_path / "run", dict(QUICK, out_dir=str(tmp_path / "maps")))
    monkeypatch.setattr("ctc_mm.engine.hooks.export_hook.is_main_process", lambda: False)
    runner.test()
    assert not (tmp_path / "maps").exists()


def test_wrapped_model_is_unwrapped(config_file, tmp_path):
    runner = build(config_file, tmp_path / "run", dict(QUICK, interval=1, out_dir=str(tmp_path / "maps")))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        runner.model = runner.wrap_model(dict(type="MMDistributedDataParallel"), runner.model)
        runner.test()
    finally:
        torch.distributed.destroy_process_group()
    assert (tmp_path / "maps" / "test" / "tsne.png").is_file()


def test_unknown_layer_is_an_error_with_the_valid_names(config_file, tmp_path):
    runner = build(config_file, tmp_path / "run", dict(layers=("convolution5",)))
    with pytest.raises(ValueError, match=r"no layer 'convolution5'. Valid names: input, conv1 to conv17"):
        runner.test()


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    return write_field_config(folder / "ssd.py", draw_fields(folder / "set"))


def test_boxes_of_a_detector_are_mapped(detector_file, tmp_path, monkeypatch):
    monkeypatch.setattr("ctc_mm.explain.trained.DEFAULT_SCORE_THR", 0.0)
    hook = dict(perplexity=5, iterations=250, out_dir=str(tmp_path / "maps"), interval=2)
    runner = build(detector_file, tmp_path / "run", hook)
    publish_operating_point(None)
    runner.test_loop.evaluator.metrics[0].operating_point = None
    runner.test()
    metrics = json.loads((tmp_path / "maps" / "test" / "metrics.json").read_text())
    assert list(metrics["layers"]) == ["neck"]
    assert list(metrics["samples"]) == ["CTC", "WBC", "false positive"]
    assert sum(metrics["samples"].values()) == metrics["layers"]["neck"]["samples"] > 4
    assert metrics["misjudged"] == metrics["samples"]["false positive"]


def test_detector_without_boxes_is_no_end_of_a_training(detector_file, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr("ctc_mm.explain.trained.DEFAULT_SCORE_THR", 1.1)
    monkeypatch.setattr("ctc_mm.engine.hooks.tsne_hook.operating_point_of", lambda loop: None)
    runner = build(detector_file, tmp_path / "run", dict(interval=1, out_dir=str(tmp_path / "maps")))
    monkeypatch.setattr(runner.logger, "warning", lambda message, *_: messages.append(str(message)))
    runner.train()
    assert runner.epoch == 2
    assert not (tmp_path / "maps").exists()
    assert [message for message in messages if "no map for" in message] == [
        f"no map for epoch_{epoch}: t-SNE has nothing to draw: layer neck: needs at least 4 samples; received 0"
        for epoch in (1, 2)
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(interval=0), "`interval` must be a whole number of at least 1"),
        (dict(interval=True), "`interval`"),
        (dict(max_samples=3), "`max_samples` must be a whole number of at least 4"),
        (dict(pooling="max"), "`pooling` must be one of mean, flatten"),
        (dict(perplexity=0), "`perplexity`"),
        (dict(method="pca"), "`method`"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        TSNEHook(**option)


def test_hook_is_registered_and_runs_before_averaged_weights_go():
    hook = HOOKS.build(dict(type="ctc_mm.TSNEHook", interval=3, perplexity=20, seed=4))
    assert isinstance(hook, TSNEHook)
    assert hook.priority == "ABOVE_NORMAL"
    assert (hook.options.perplexity, hook.options.seed, hook.features.seed) == (20, 4, 4)
