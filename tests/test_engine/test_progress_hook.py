import logging

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ctc_mm.registry import HOOKS


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.weight.sum()} if mode == "loss" else [inputs]


class Recorder:
    """Stands for rich's display and keeps what is shown."""

    def __init__(self):
        self.shown, self.stopped = {}, False

    def add_task(self, name, total):
        self.shown[name] = []
        return name

    def update(self, task, **values):
        self.shown[task].append(values)

    def start(self): ...

    def stop(self):
        self.stopped = True


def run(tmp_path, hook):
    loader = DataLoader([dict(inputs=torch.zeros(1))] * 3, batch_size=1)
    runner = Runner(
        Toy(), str(tmp_path), train_dataloader=loader, optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=2), custom_hooks=[hook], experiment_name=f"progress_{tmp_path.name}",
    )  # fmt: skip
    runner.train()
    return runner


def test_disabled_hook_draws_nothing_and_leaves_the_log(tmp_path):
    hook = HOOKS.build(dict(type="ctc_mm.ProgressHook", enabled=False))
    runner = run(tmp_path, hook)
    assert hook.progress is None
    assert all(handler.level != logging.WARNING for handler in runner.logger.handlers)


def test_bar_counts_every_iteration_and_ends(tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("ctc_mm.engine.hooks.progress_hook.Progress", lambda *args, **kwargs: recorder)
    hook = HOOKS.build(dict(type="ctc_mm.ProgressHook", enabled=True))
    runner = run(tmp_path, hook)
    assert [shown["completed"] for shown in recorder.shown["train"]] == [0, 1, 2, 3, 4, 5, 6]
    assert {shown["total"] for shown in recorder.shown["train"]} == {6}
    assert recorder.shown["train"][-1]["description"].startswith("train epoch 2/2 loss")
    assert recorder.stopped
    kinds = {type(handler): handler.level for handler in runner.logger.handlers}
    assert kinds[logging.StreamHandler] == logging.WARNING
    assert any(issubclass(kind, logging.FileHandler) and level != logging.WARNING for kind, level in kinds.items())


@pytest.mark.parametrize("enabled", [True, False])
def test_without_a_terminal_it_is_off(enabled, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", enabled)
    assert HOOKS.build(dict(type="ctc_mm.ProgressHook")).enabled is enabled
