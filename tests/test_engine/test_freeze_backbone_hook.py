import os
import socket

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from tiny_training import build_runner, pretrained, save_backbone
from torch import nn

from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.registry import HOOKS

LOADED = ("conv1", "norm")


class Recorder(Hook):
    """Keeps a copy of the weights, the statistics and the modes after each epoch, seen before it is saved."""

    priority = "VERY_HIGH"

    def __init__(self):
        self.states, self.training, self.epochs = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = getattr(runner.model, "module", runner.model)
        self.training.append({name: part.training for name, part in model.named_modules()})

    def after_train_epoch(self, runner):
        model = getattr(runner.model, "module", runner.model)
        self.states.append({name: value.clone() for name, value in model.state_dict().items()})
        self.epochs.append(runner.epoch)


def freeze(epochs=1, **options):
    return {"type": "ctc_mm.FreezeBackboneHook", "epochs": epochs, **options}


def train(work_dir, epochs=1, max_epochs=2, init=None, freeze_options=None, **options):
    recorder = Recorder()
    hooks = [freeze(epochs, **(freeze_options or {})), recorder]
    runner = build_runner(work_dir, max_epochs, init, hooks, **options)
    runner.train()
    return runner, recorder


@pytest.fixture
def whole(tmp_path):
    return save_backbone(tmp_path / "whole.pth")


@pytest.fixture
def part(tmp_path):
    return save_backbone(tmp_path / "part.pth", LOADED)


def same(state, weights, name, prefix="backbone."):
    return torch.equal(state[f"{prefix}{name}"], weights[name])


def test_no_frozen_phase_trains_everything(tmp_path, whole):
    _, recorder = train(tmp_path, epochs=0, max_epochs=1, init=pretrained(whole))
    assert not same(recorder.states[0], torch.load(whole), "conv1.weight")


def test_frozen_weights_and_statistics_stand_still_then_move(tmp_path, whole):
    runner, recorder = train(tmp_path, epochs=2, max_epochs=3, init=pretrained(whole))
    weights = torch.load(whole)
    for state in recorder.states[:2]:
        for name in weights:  # running_mean, running_var and num_batches_tracked among them
            assert same(state, weights, name), name
        assert not torch.equal(state["head.weight"], recorder.states[2]["head.weight"])
    for name in weights:
        assert not same(recorder.states[2], weights, name), name
    assert all(parameter.requires_grad for parameter in runner.model.parameters())


def test_modes_in_the_iterations(tmp_path, whole):
    _, recorder = train(tmp_path, epochs=1, max_epochs=2, init=pretrained(whole))
    frozen, free = recorder.training[:4], recorder.training[4:]
    assert [modes["backbone.norm"] for modes in frozen] == [False] * 4
    assert [modes["head"] for modes in frozen] == [True] * 4
    assert all(all(modes.values()) for modes in free)


def test_what_the_file_does_not_hold_learns_from_the_start(tmp_path, part):
    _, recorder = train(tmp_path, epochs=2, max_epochs=2, init=pretrained(part))
    weights = torch.load(part)
    for name in weights:
        assert same(recorder.states[1], weights, name), name
    assert not torch.equal(recorder.states[0]["backbone.extra.weight"], recorder.states[1]["backbone.extra.weight"])
    assert recorder.training[0]["backbone.extra"]
    assert not recorder.training[0]["backbone.norm"]


ADAMW = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.5}
SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.5}
SLOWER_BACKBONE = {"custom_keys": {"backbone": {"lr_mult": 0.1}}}
WRAPPERS = [
    pytest.param({"optimizer": ADAMW}, id="AdamW"),
    pytest.param(
        {"type": "AmpOptimWrapper", "optimizer": ADAMW},
        id="AMP",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="MMEngine's AmpOptimWrapper needs a GPU"),
    ),
    pytest.param(
        {"optimizer": SGD, "accumulative_counts": 2, "clip_grad": {"max_norm": 1.0}, "paramwise_cfg": SLOWER_BACKBONE},
        id="SGD, accumulation, clipping, learning rate per part",
    ),
]


@pytest.mark.parametrize("optim_wrapper", WRAPPERS)
def test_weight_decay_leaves_frozen_weights_alone(tmp_path, whole, optim_wrapper):
    runner, recorder = train(tmp_path, epochs=1, max_epochs=2, init=pretrained(whole), optim_wrapper=optim_wrapper)
    weights = torch.load(whole)
    assert same(recorder.states[0], weights, "conv1.weight")
    assert not same(recorder.states[1], weights, "conv1.weight")
    states = runner.optim_wrapper.optimizer.state
    assert {id(parameter) for parameter in states} == {id(parameter) for parameter in runner.model.parameters()}


def test_adam_counts_the_steps_of_freed_weights_from_the_switch(tmp_path, whole):
    runner, _ = train(tmp_path, epochs=1, max_epochs=3, init=pretrained(whole))
    states = runner.optim_wrapper.optimizer.state
    steps = {name: int(states[parameter]["step"]) for name, parameter in runner.model.named_parameters()}
    assert steps["backbone.conv1.weight"] == 8
    assert steps["head.weight"] == 12
    assert runner.param_schedulers[0].last_step == 3


@pytest.mark.parametrize("stop_after", [1, 2, 3], ids=["while frozen", "at the switch", "when free"])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, part, stop_after):
    _, unbroken = train(tmp_path / "a", epochs=2, max_epochs=4, init=pretrained(part))
    train(tmp_path / "b", epochs=2, max_epochs=stop_after, init=pretrained(part))
    _, resumed = train(tmp_path / "b", epochs=2, max_epochs=4, init=pretrained(part), resume=True)
    assert resumed.epochs == list(range(stop_after, 4))
    for name, value in unbroken.states[-1].items():
        assert torch.equal(value, resumed.states[-1][name]), name


def test_resume_without_the_pretrained_file_freezes_what_was_frozen(tmp_path, part):
    _, first = train(tmp_path, epochs=3, max_epochs=1, init=pretrained(part))
    _, second = train(tmp_path, epochs=3, max_epochs=2, init=None, resume=True)
    for name in ("conv1.weight", "norm.running_mean"):
        assert same(second.states[0], torch.load(part), name)
    assert not torch.equal(first.states[0]["backbone.extra.weight"], second.states[0]["backbone.extra.weight"])


def test_load_from_fills_the_backbone(tmp_path, whole):
    weights = {f"backbone.{name}": value for name, value in torch.load(whole).items()}
    torch.save({"state_dict": weights}, tmp_path / "detector.pth")
    _, recorder = train(tmp_path, epochs=1, max_epochs=1, load_from=str(tmp_path / "detector.pth"))
    assert torch.equal(recorder.states[0]["backbone.extra.weight"], weights["backbone.extra.weight"])


def test_parts_frozen_by_others_stay_frozen(tmp_path, whole):
    runner = build_runner(tmp_path, 2, pretrained(whole), [freeze(1)])
    runner.model.backbone.conv1.requires_grad_(False)
    runner.train()
    assert not runner.model.backbone.conv1.weight.requires_grad
    assert runner.model.backbone.extra.weight.requires_grad


def test_another_submodule(tmp_path):
    head = {"state_dict": {"head.weight": torch.ones(1, 4), "head.bias": torch.ones(1)}}
    torch.save(head, tmp_path / "head.pth")
    options = {"module": "head"}
    _, recorder = train(tmp_path, 1, 1, freeze_options=options, load_from=str(tmp_path / "head.pth"))
    assert recorder.states[0]["head.weight"].tolist() == [[1, 1, 1, 1]]


def random_first_layer(tmp_path):
    return {"init": pretrained(save_backbone(tmp_path / "w.pth", ["norm", "extra"]))}


def other_names(tmp_path):
    torch.save({f"layer.{k}": v for k, v in nn.Conv2d(3, 4, 3).state_dict().items()}, tmp_path / "w.pth")
    return {"init": pretrained(tmp_path / "w.pth")}


def other_shapes(tmp_path):
    torch.save({"conv1.weight": torch.zeros(4, 1, 3, 3), "extra.weight": torch.zeros(4, 4, 1, 1)}, tmp_path / "w.pth")
    return {"init": pretrained(tmp_path / "w.pth")}


def detector_without_backbone(tmp_path):
    torch.save({"state_dict": {"head.weight": torch.zeros(1, 4)}}, tmp_path / "w.pth")
    return {"load_from": str(tmp_path / "w.pth")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda tmp_path: {}, "randomly initialised, freezing it"),
        (lambda tmp_path: {"init": {"type": "Kaiming", "layer": "Conv2d"}}, "randomly initialised"),
        (other_names, "randomly initialised"),
        (detector_without_backbone, "randomly initialised"),
        (random_first_layer, "in front of loaded layers: backbone.conv1.weight"),
        (other_shapes, "in front of loaded layers: backbone.conv1.weight"),
    ],
    ids=["nothing", "Kaiming", "other names", "no backbone in load_from", "random first layer", "other shapes"],
)
def test_a_random_backbone_is_not_frozen(tmp_path, given, message):
    options = given(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        train(tmp_path, **options)
    assert "--from-scratch" in str(caught.value)
    assert "init_cfg" in str(caught.value)


@pytest.mark.parametrize("epochs", [-1, 1.5, True, "50", None])
def test_epochs_must_be_a_whole_number(epochs):
    with pytest.raises(ConfigError, match="`epochs` must be"):
        HOOKS.build(freeze(epochs))


def test_an_unknown_submodule_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"no submodule `body`; it has .*backbone, head"):
        train(tmp_path, freeze_options={"module": "body"})


def test_training_by_iterations_is_refused(tmp_path, whole):
    by_iterations = {"by_epoch": False, "max_iters": 2}
    with pytest.raises(ConfigError, match="by_epoch=True"):
        train(tmp_path, init=pretrained(whole), train_cfg=by_iterations, param_scheduler=None)


def test_freezing_all_there_is_is_refused(tmp_path, whole):
    runner = build_runner(tmp_path, 2, pretrained(whole), [freeze(1)])
    runner.model.head.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        runner.train()


def train_rank(rank, port, folder):
    """One of two processes; each writes its weights after every epoch, and its own gradient-free parts."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")  # MMEngine's launcher asks for a GPU, unless this has happened
    hooks = [freeze(2), recorder := Recorder()]
    options = {"launcher": "pytorch", "cfg": {"model_wrapper_cfg": {"broadcast_buffers": False, "device_ids": None}}}
    runner = build_runner(f"{folder}/work", 4, pretrained(f"{folder}/part.pth"), hooks, **options)
    assert isinstance(runner.model, MMDistributedDataParallel)  # noqa: S101
    runner.train()
    torch.save(recorder.states, f"{folder}/rank{rank}.pth")
    torch.distributed.destroy_process_group()


def test_two_ranks_cross_the_switch_with_equal_weights(tmp_path, part):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(train_rank, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    weights = torch.load(part)
    assert len(first) == 4
    learned = [name for name in first[0] if "running" not in name and "tracked" not in name]
    for epoch, (a, b) in enumerate(zip(first, second, strict=True)):
        for name in learned:
            assert torch.equal(a[name], b[name]), (epoch, name)
        for name in weights:
            assert same(a, weights, name) == (epoch < 2), (epoch, name)
    assert not torch.equal(first[0]["backbone.extra.weight"], first[1]["backbone.extra.weight"])
