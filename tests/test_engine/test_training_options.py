"""What the command line adds to a config, and that it does what it says in a training."""

import os
import shutil

import pytest
import torch
from mmengine.config import Config
from tiny_fields import draw_fields, write_field_config
from tool_runs import run_tool

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.training_options import (
    CUBLAS_VARIABLE,
    apply_training_options,
    has_ema,
    require_ema_as_before,
    use_channels_last,
    use_deterministic,
    use_ema,
)
from ctc_mm.errors import CheckpointError

EXTRA = """
load, resize, boxes, pack = pipeline
flip = dict(type='RandomFlip', prob=0.5)
train_dataloader['dataset'] = dict(train_dataloader['dataset'], pipeline=[load, boxes, resize, flip, pack])
train_dataloader = dict(train_dataloader, sampler=dict(type='DefaultSampler', shuffle=True))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
"""


@pytest.fixture(autouse=True)
def torch_left_as_it_was(monkeypatch):
    """Deterministic algorithms hold for the whole process."""
    monkeypatch.delenv(CUBLAS_VARIABLE, raising=False)
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags
    os.environ.pop(CUBLAS_VARIABLE, None)


def hooks(config):
    return [hook["type"] for hook in config.get("custom_hooks") or []]


def config_of(**options):
    return Config(dict(custom_hooks=[dict(type="ctc_mm.ProgressHook")], **options))


def test_nothing_asked_for_changes_nothing():
    config = config_of()
    assert apply_training_options(config) is config
    assert config.to_dict() == config_of().to_dict()


def test_order_of_the_hooks():
    config = apply_training_options(config_of(), channels_last=True, deterministic=True, ema=True)
    expected = ["ctc_mm.ChannelsLastHook", "ctc_mm.ProgressHook", "ctc_mm.EpochSeedHook", "ctc_mm.EpochEMAHook"]
    assert hooks(config) == expected
    again = apply_training_options(config, channels_last=True, deterministic=True, ema=True)
    assert hooks(again) == expected  # none twice
    assert hooks(apply_training_options(Config({}), channels_last=True)) == ["ctc_mm.ChannelsLastHook"]


@pytest.mark.parametrize("own", ["EMAHook", "mmdet.EMAHook", "ctc_mm.EpochEMAHook"])
def test_an_average_of_its_own_stays(own):
    config = Config(dict(custom_hooks=[dict(type=own)]))
    assert has_ema(config)
    use_ema(config)
    assert hooks(config) == [own]
    assert not has_ema(config_of())


def test_a_hook_of_the_same_name_is_not_added_again():
    config = Config(dict(custom_hooks=[dict(type="ChannelsLastHook"), dict(type="EpochSeedHook")]))
    use_channels_last(config)
    use_deterministic(config)
    assert hooks(config) == ["ChannelsLastHook", "EpochSeedHook"]


@pytest.mark.parametrize(("before", "seed"), [({}, 0), ({"seed": None}, 0), ({"seed": 7}, 7)])
def test_deterministic_settings(before, seed, monkeypatch):
    config = config_of(randomness=before, env_cfg=dict(cudnn_benchmark=True, dist_cfg=dict(backend="nccl")))
    use_deterministic(config)
    assert config.randomness == dict(seed=seed, deterministic=True)
    assert config.env_cfg == dict(cudnn_benchmark=False, dist_cfg=dict(backend="nccl"))
    assert os.environ[CUBLAS_VARIABLE] == ":4096:8"
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")  # the user's wins
    use_deterministic(config)
    assert os.environ[CUBLAS_VARIABLE] == ":16:8"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    return write_field_config(folder / "tiny.py", draw_fields(folder / "fields"), EXTRA)


@pytest.fixture(scope="module")
def averaged(data, tmp_path_factory):
    """A training with all options at once."""
    work_dir = tmp_path_factory.mktemp("averaged")
    run_tool("train", data, "--work-dir", work_dir, "--ema", "--channels-last", "--deterministic")
    torch.use_deterministic_algorithms(False)
    return work_dir


def weights(folder, part="state_dict"):
    return load_checkpoint_safely(folder / "epoch_2.pth")[part]


def test_a_repeated_and_a_resumed_training_end_the_same(data, averaged, tmp_path):
    again, resumed = tmp_path / "again", tmp_path / "resumed"
    options = ("--ema", "--channels-last", "--deterministic")
    run_tool("train", data, "--work-dir", again, *options)
    resumed.mkdir()
    shutil.copy(averaged / "epoch_1.pth", resumed)
    (resumed / "last_checkpoint").write_text(str(resumed / "epoch_1.pth"))
    run_tool("train", data, "--work-dir", resumed, "--resume", *options)
    for part in ("state_dict", "ema_state_dict"):
        expected = weights(averaged, part)
        for folder in (again, resumed):
            found = weights(folder, part)
            assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_the_test_uses_the_average(data, averaged, tmp_path, monkeypatch):
    from ctc_mm.engine import testing

    tested = []
    measure = testing._measure_speed

    def keep(runner, *rest):
        tested.append({name: value.clone() for name, value in runner.model.state_dict().items()})
        return measure(runner, *rest)

    monkeypatch.setattr(testing, "_measure_speed", keep)
    # Once with the training's own config, in which the hook is, and once without it.
    for number, config in enumerate((next(averaged.glob("*.py")), data)):
        run_tool("test", config, averaged / "epoch_2.pth", "--out", tmp_path / str(number), "--speed-images", "1")
        average = weights(averaged)
        assert [name for name in average if not torch.equal(average[name], tested[number][name])] == []
    trained = weights(averaged, "ema_state_dict")
    assert not torch.equal(trained["module.backbone.conv1.weight"], tested[0]["backbone.conv1.weight"])


def test_going_on_without_the_average_is_refused(data, averaged, tmp_path):
    checkpoint = averaged / "epoch_2.pth"
    with pytest.raises(
        CheckpointError, match=r"epoch_2\.pth: was saved by a training that averages its weights.*--ema"
    ):
        require_ema_as_before(config_of(), checkpoint)
    require_ema_as_before(Config(dict(custom_hooks=[dict(type="EMAHook")])), checkpoint)
    with pytest.raises(CheckpointError, match="give the options of the first run again"):
        run_tool("train", data, "--work-dir", averaged, "--resume")
