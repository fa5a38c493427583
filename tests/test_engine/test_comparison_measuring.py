"""Size, operations, memory and speed of trained detectors, and the picture of a table."""

import json

import pytest
import torch
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.comparison import measuring
from ctc_mm.engine.comparison.drawing import draw_comparison
from ctc_mm.engine.comparison.measurements import Speed
from ctc_mm.engine.runs.identity import differences, training_identity
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.formats.files import write_json

LAYOUT = "custom_hooks = [dict(type='ctc_mm.ChannelsLastHook')]\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models with random weights, the second one in channels_last."""
    from mmdet.registry import MODELS

    register_all_modules()
    folder = tmp_path_factory.mktemp("measured")
    data = draw_fields(folder / "data", count=3)
    specs = {}
    for name, extra in (("plain", ""), ("last", LAYOUT)):
        config = write_field_config(folder / f"{name}.py", data, extra)
        torch.manual_seed(0)
        model = MODELS.build(load_config(config).model)
        torch.save({"state_dict": model.state_dict()}, folder / f"{name}.pth")
        specs[name] = {"config": str(config), "checkpoint": str(folder / f"{name}.pth")}
    return specs


def spec(models, **changes):
    return {"key": "abc", "models": models, "batch_sizes": [1, 2, 4], "rounds": 3, "trust": False, "device": "cpu",
            **changes}  # fmt: skip


def test_size_and_operations_are_those_of_the_layers(models, tmp_path):
    from mmdet.registry import MODELS

    measuring.measure_cost(spec({"plain": models["plain"]}), tmp_path / "cost.json")
    found = json.loads((tmp_path / "cost.json").read_text())
    model = MODELS.build(load_config(models["plain"]["config"]).model).eval()
    assert found["parameters_m"] * 1e6 == pytest.approx(sum(one.numel() for one in model.parameters()))
    assert found["input_hw"] == [64, 64]
    operations = []

    def count(layer, _, output):
        per_value = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        operations.append(2 * per_value * output.numel())

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64), mode="tensor")
    assert found["gflops"] * 1e9 == pytest.approx(sum(operations))
    assert found["libraries_mib"] > 50


def test_memory_is_that_of_a_prediction_and_not_of_the_file_of_weights(models, tmp_path):
    content = torch.load(models["plain"]["checkpoint"])
    optimizer_mib = 128
    content["optimizer"] = {"exp_avg": torch.zeros(optimizer_mib * 2**18)}
    torch.save(content, tmp_path / "large.pth")
    large = {**models["plain"], "checkpoint": str(tmp_path / "large.pth")}
    measuring.measure_cost(spec({"plain": large}), tmp_path / "cost.json")
    found = json.loads((tmp_path / "cost.json").read_text())
    assert found["peak_mib"] - found["libraries_mib"] < optimizer_mib / 2


def test_layout_is_that_of_the_training(models):
    for name, expected in (("plain", False), ("last", True)):
        trained = measuring.TrainedModel(models[name], torch.device("cpu"), trust=False)
        weight = trained.model.backbone.layer1[0].conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == expected
        assert trained.batch(5)["inputs"].shape == (5, 3, 64, 64)  # of three images


def test_models_take_turns_and_each_batch_size_is_measured_once(models, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(measuring, "seconds_of", lambda run, device: asked.append(run) or 0.5)
    out = tmp_path / "speed.json"
    write_json(out, {"key": "abc", "seconds": {"2": {"plain": [0.25], "last": [0.25]}}, "machine": {}})
    measuring.measure_speed(spec(models), out)
    found = json.loads(out.read_text())
    assert found["seconds"]["2"] == {"plain": [0.25], "last": [0.25]}  # kept
    assert found["seconds"]["4"] == {"plain": [0.5] * 3, "last": [0.5] * 3}
    assert found["machine"]["threads"] == torch.get_num_threads()
    last, plain = asked[:2]  # the round that warms up; each begins with another model
    assert last is not plain
    assert asked[:8] == [last, plain, plain, last, last, plain, plain, last]
    measuring.measure_speed(spec(models, key="other", batch_sizes=[1]), out)
    assert list(json.loads(out.read_text())["seconds"]) == ["1"]


def test_what_memory_does_not_do_for_is_left_out(models, tmp_path, monkeypatch):
    def seconds_of(run, device):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(measuring, "seconds_of", seconds_of)
    measuring.measure_speed(spec(models, batch_sizes=[1]), tmp_path / "speed.json")
    assert json.loads((tmp_path / "speed.json").read_text())["seconds"] == {"1": {"plain": [], "last": []}}
    monkeypatch.setattr(measuring, "seconds_of", lambda run, device: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        measuring.measure_speed(spec(models, batch_sizes=[2]), tmp_path / "speed.json")


def test_images_per_second_are_medians_and_ratios_are_of_rounds():
    seconds = {"plain": {1: [1.0, 2.0, 4.0], 4: [2.0, 2.0, 2.0]}, "fast": {1: [0.5, 1.0, 2.0], 4: []}}
    speed = Speed(seconds, {})
    assert speed.fps("plain", 1) == 0.5
    assert speed.best("plain") == (4, 2.0)
    assert speed.best("fast") == (1, 1.0)  # no memory for four
    assert speed.ratio("fast", "plain") == 2.0
    assert speed.ratio("fast", "plain", 4) is None
    assert speed.fps("other", 1) is None
    assert speed.best("other") is None


def test_identity_leaves_out_places_and_what_records(tmp_path):
    data = draw_fields(tmp_path / "data", count=1)
    config = load_config(write_field_config(tmp_path / "one.py", data))
    extra = "custom_hooks = [dict(type='ctc_mm.TrainingCostHook'), dict(type='NumClassCheckHook')]\nunused = 3\n"
    other = load_config(write_field_config(tmp_path / "two.py", tmp_path, extra))
    same, changed = training_identity(config), training_identity(other)
    assert differences(same, changed) == (
        "custom_hooks was [], is absent, custom_hooks.0.type was absent, is 'NumClassCheckHook'"
    )
    other.model.test_cfg.score_thr = 0.1
    other.custom_hooks = []
    assert differences(same, training_identity(other)) == "model.test_cfg.score_thr was 0.02, is 0.1"


def row(name, values, fps):
    figure = {"mean": sum(values) / len(values), "values": values, "interval": [min(values) - 0.1, 0.9]}
    return {"name": name, "figures": {"mAP50": figure, "mAP": figure}, "speed": {"fps_batch_1": fps}}


def test_picture_is_the_same_each_time_and_needs_no_results():
    rows = [row("ssd", [0.5, 0.6], 20.0), {"name": "failed", "figures": {}, "speed": None}]
    png = draw_comparison(rows, "ssd", grouped=False)
    assert png[:4] == b"\x89PNG"
    assert draw_comparison(rows, "ssd", grouped=False) == png
    assert draw_comparison([row("ssd", [0.5, 0.7], 20.0), rows[1]], "ssd", grouped=False) != png
