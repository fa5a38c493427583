import json

import pytest
import torch
from tiny_training import build_runner

import ctc_mm
from ctc_mm.engine.hooks import training_cost_hook
from ctc_mm.engine.hooks.training_cost_hook import COST_FILE

HOOK = {"type": "ctc_mm.TrainingCostHook"}


class Clocks:
    """Each training step takes 2 s on the clock and 3 s of processors."""

    def __init__(self, monkeypatch):
        self.steps, self.peak_mib = 0, 100.0
        monkeypatch.setattr(training_cost_hook.time, "monotonic", lambda: 1000.0 + 2.0 * self.steps)
        monkeypatch.setattr(training_cost_hook, "_cpu_seconds", lambda: 7.0 + 3.0 * self.steps)
        monkeypatch.setattr(training_cost_hook, "peak_mib", lambda: self.peak_mib)

    def count(self, runner):
        runner.model.register_forward_hook(self._step)

    def _step(self, module, inputs, output):
        self.steps += 1


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


def train(work_dir, epochs, clocks, hooks=(HOOK,), **options):
    runner = build_runner(work_dir, epochs, hooks=hooks, **options)
    clocks.count(runner)
    runner.train()


def cost(work_dir):
    return json.loads((work_dir / COST_FILE).read_text())


def test_costs_of_a_training(tmp_path, clocks):
    train(tmp_path, 2, clocks)
    gpu = torch.cuda.is_available()
    assert cost(tmp_path) == {
        "epochs": 2,
        "wall_s": 16.0,  # 2 epochs of 4 steps
        "cpu_s": 24.0,
        "peak_memory_mib": 100.0,
        "peak_gpu_memory_mib": cost(tmp_path)["peak_gpu_memory_mib"] if gpu else None,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "processes": 1,
        "torch": torch.__version__,
        "ctc_mm": ctc_mm.__version__,
        "complete": True,
    }


def test_costs_are_summed_over_a_resume(tmp_path, clocks):
    train(tmp_path, 1, clocks)
    clocks.peak_mib = 70.0
    train(tmp_path, 3, clocks, resume=True)
    found = cost(tmp_path)
    assert (found["epochs"], found["wall_s"], found["cpu_s"], found["complete"]) == (3, 24.0, 36.0, True)
    assert found["peak_memory_mib"] == 100.0


def test_an_epoch_done_twice_was_paid_for_twice(tmp_path, clocks):
    train(tmp_path, 2, clocks)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    train(tmp_path, 2, clocks, resume=True)
    assert (cost(tmp_path)["epochs"], cost(tmp_path)["wall_s"]) == (2, 24.0)


def test_a_training_begun_without_it_has_no_whole_cost(tmp_path, clocks):
    train(tmp_path, 1, clocks, hooks=())
    train(tmp_path, 2, clocks, resume=True)
    assert (cost(tmp_path)["complete"], cost(tmp_path)["wall_s"]) == (False, 8.0)
    train(tmp_path, 3, clocks, resume=True)  # and never gets one
    assert (cost(tmp_path)["complete"], cost(tmp_path)["wall_s"]) == (False, 16.0)


def test_a_training_begun_anew_starts_at_zero(tmp_path, clocks):
    train(tmp_path, 2, clocks)
    train(tmp_path, 1, clocks)
    assert (cost(tmp_path)["epochs"], cost(tmp_path)["wall_s"]) == (1, 8.0)


def test_real_clocks_and_memory(tmp_path):
    build_runner(tmp_path, 1, hooks=[HOOK]).train()
    found = cost(tmp_path)
    assert 0 < found["wall_s"] < 60
    assert 0 <= found["cpu_s"] < 60
    assert 50 < found["peak_memory_mib"] < 50_000  # a process with torch, in MiB


def test_where_the_system_does_not_tell_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(training_cost_hook, "peak_mib", lambda: float("nan"))  # Windows
    build_runner(tmp_path, 1, hooks=[HOOK]).train()
    assert cost(tmp_path)["peak_memory_mib"] is None
    build_runner(tmp_path, 2, hooks=[HOOK], resume=True).train()
    assert cost(tmp_path)["peak_memory_mib"] is None
