"""GradCAMHook on a cell classifier: validation, test, wrapped model, and a training that goes on as without it."""

import itertools
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from tiny_cells import draw_cells, write_config

import ctc_mm.datasets
import ctc_mm.engine.hooks
import ctc_mm.evaluation.metrics
import ctc_mm.models  # noqa: F401
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.operating_point import publish_operating_point, published_operating_point

_run_number = itertools.count()


@pytest.fixture(autouse=True)
def _fresh_process():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
    publish_operating_point(None)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return draw_cells(tmp_path_factory.mktemp("cells") / "set")


def build_runner(cells, work_dir, operating_point=None, **hook):
    work_dir.mkdir(parents=True, exist_ok=True)
    config = Config.fromfile(write_config(work_dir / "config.py", cells))
    config.work_dir = str(work_dir)
    config.experiment_name = f"grad_cam_cells_{next(_run_number)}"
    config.default_hooks.checkpoint = None
    config.test_evaluator.operating_point = operating_point
    if hook:
        config.custom_hooks = [*config.custom_hooks, dict(type="ctc_mm.GradCAMHook", **hook)]
    return Runner.from_cfg(config)


def read_list(folder):
    return json.loads((folder / "explain.json").read_text())


def test_exports_fixed_cells_at_the_interval_and_after_the_test(cells, tmp_path, monkeypatch):
    messages = []
    runner = build_runner(cells, tmp_path, num_images=5, interval=2, out_dir=str(tmp_path / "cam"))
    monkeypatch.setattr(type(runner.logger), "info", lambda _logger, message, *_: messages.append(str(message)))
    runner.train()
    assert sorted(path.name for path in (tmp_path / "cam").iterdir()) == ["epoch_2"]
    threshold = published_operating_point()["thresholds"]["youden"]
    validated = read_list(tmp_path / "cam" / "epoch_2")
    assert validated["score_thr"] == threshold  # what the metric has chosen in this validation
    point = published_operating_point()
    publish_operating_point(None)  # another process, which applies what was stored with the weights
    tester = build_runner(cells, tmp_path, point, num_images=5, out_dir=str(tmp_path / "cam"))
    tester.model.load_state_dict(runner.model.state_dict())
    tester.test()
    tested = read_list(tmp_path / "cam" / "test")
    assert tested["score_thr"] == threshold  # what it applies in the test
    for name, content, part in (("epoch_2", validated, "val"), ("test", tested, "test")):
        folder = tmp_path / "cam" / name
        assert (folder / "contact_sheet.png").is_file()
        assert len(content["cells"]) == 5
        assert len({cell["cell_id"] for cell in content["cells"]}) == 5
        for cell in content["cells"]:
            assert cell["cell_id"].startswith(part)
            assert cell["truth"] in ("CTC", "WBC")
            assert cell["predicted"] == ("CTC" if cell["score"] >= threshold else "WBC")
            assert np.load(folder / cell["maps"])["cam"].shape == (24, 24)
        classes = {cell["truth"] for cell in content["cells"]}
        assert classes == {"CTC", "WBC"}  # spread over the whole set
    assert sum("Grad-CAM of 5 cells explained" in message for message in messages) == 2


def test_training_goes_on_as_without_the_hook(cells, tmp_path):
    explained = build_runner(cells, tmp_path / "with", num_images=2, interval=1, out_dir=str(tmp_path / "cam"))
    explained.train()
    plain = build_runner(cells, tmp_path / "without")
    plain.train()
    assert len(list((tmp_path / "cam").iterdir())) == 2
    weights = plain.model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in explained.model.state_dict().items())


def test_options_reach_the_explanation(cells, tmp_path):
    options = dict(class_name="WBC", layers=["backbone.layer1"], against_others=True, score_thr=0.9)
    runner = build_runner(cells, tmp_path, num_images=20, out_dir=str(tmp_path / "cam"), **options)
    runner.val()
    content = read_list(tmp_path / "cam" / "epoch_0")
    assert len(content["cells"]) == 11
    assert (content["class"], content["against_others"], content["score_thr"]) == ("WBC", True, 0.9)
    assert {cell["explained"] for cell in content["cells"]} == {"WBC"}
    assert {cell["layer"] for cell in content["cells"]} == {"backbone.layer1"}


def test_a_wrapped_model_is_unwrapped(cells, tmp_path):
    runner = build_runner(cells, tmp_path, num_images=1, out_dir=str(tmp_path / "cam"))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        runner.model = runner.wrap_model(dict(type="MMDistributedDataParallel"), runner.model)
        runner.val()
    finally:
        torch.distributed.destroy_process_group()
    assert len(read_list(tmp_path / "cam" / "epoch_0")["cells"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(class_name="RBC"), "no class 'RBC' in the data set; `class_name` is one of CTC, WBC"),
        (dict(layers=["a", "b"]), "`layers` takes one module of a classifier"),
    ],
)
def test_wrong_options_are_named(cells, tmp_path, options, message):
    runner = build_runner(cells, tmp_path, num_images=1, out_dir=str(tmp_path / "cam"), **options)
    with pytest.raises(ConfigError, match=message):
        runner.val()
