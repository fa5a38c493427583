import pytest
import torch
from mmengine.hooks import Hook
from tiny_training import build_runner

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.hooks.epoch_ema_hook import GAMMA, EpochEMAHook
from ctc_mm.errors import ConfigError

STEPS = 4  # an epoch


def ema(epochs=1.0):
    return {"type": "ctc_mm.EpochEMAHook", "epochs": epochs}


class Watch(Hook):
    """Keeps the weights after each step, and those that are validated."""

    priority = "ABOVE_NORMAL"

    def __init__(self):
        self.steps, self.validated = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append(copy_of(runner.model))

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(copy_of(runner.model))


def copy_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def train(work_dir, epochs, hook=None, **options):
    watch = Watch()
    hooks = [watch] if hook is None else [watch, hook]
    options.setdefault(
        "default_hooks", {"checkpoint": {"type": "CheckpointHook", "save_best": "ctc/AP50_CTC", "rule": "greater"}}
    )
    runner = build_runner(work_dir, epochs, hooks=hooks, scores=[0.5, 0.2, 0.1], **options)
    runner.train()
    return runner, watch


def average(steps, window):
    """Of each value, written out: the first weights, then a share of what is new."""
    found = dict(steps[0])
    for number, state in enumerate(steps[1:], start=1):
        share = max(1 / window, GAMMA / (GAMMA + number))
        found = {name: value + (state[name] - value) * share if value.is_floating_point() else value
                 for name, value in found.items()}  # fmt: skip
    return found


def test_the_average_is_validated_and_saved(tmp_path):
    _, watch = train(tmp_path, 2, ema(0.5))
    expected = average(watch.steps, 0.5 * STEPS)
    saved = load_checkpoint_safely(tmp_path / "epoch_2.pth")
    for name, value in expected.items():
        torch.testing.assert_close(saved["state_dict"][name], value, rtol=1e-5, atol=1e-6, msg=name)
        torch.testing.assert_close(watch.validated[1][name], value, rtol=1e-5, atol=1e-6, msg=name)
        assert torch.equal(saved["ema_state_dict"][f"module.{name}"], watch.steps[-1][name])
    assert not torch.equal(expected["head.weight"], watch.steps[-1]["head.weight"])


def test_the_best_checkpoint_holds_the_average_that_was_best(tmp_path):
    _, watch = train(tmp_path, 2, ema())
    best = load_checkpoint_safely(tmp_path / "best_ctc_AP50_CTC_epoch_1.pth")["state_dict"]
    assert all(torch.equal(best[name], value) for name, value in watch.validated[0].items())


def test_training_goes_on_with_the_weights_themselves(tmp_path):
    _, plain = train(tmp_path / "plain", 2)
    _, averaged = train(tmp_path / "averaged", 2, ema())
    for one, other in zip(plain.steps, averaged.steps, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path):
    train(tmp_path / "whole", 3, ema())
    train(tmp_path / "parts", 1, ema())
    train(tmp_path / "parts", 3, ema(), resume=True)
    whole, parts = (load_checkpoint_safely(tmp_path / name / "epoch_3.pth") for name in ("whole", "parts"))
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items())


def test_a_long_window_moves_less(tmp_path):
    # Beyond GAMMA steps only the momentum tells windows apart.
    far = []
    for window in (0.5, 8.0):
        _, watch = train(tmp_path / str(window), 3, ema(window))
        far.append((watch.validated[2]["head.bias"] - watch.steps[-1]["head.bias"]).abs().item())
    assert far[0] < far[1]


@pytest.mark.parametrize("epochs", [0, -1.0, True, "1", None])
def test_mistakes_are_named(epochs):
    with pytest.raises(ConfigError, match="`epochs` must be a number above 0. Received"):
        EpochEMAHook(epochs)
