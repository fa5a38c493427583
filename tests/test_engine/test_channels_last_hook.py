import os
import subprocess
import sys
from pathlib import Path

import torch
from tiny_training import build_runner

HOOK = {"type": "ctc_mm.ChannelsLastHook"}


def trained(work_dir, hooks=()):
    runner = build_runner(work_dir, 2, hooks=hooks)
    runner.train()
    return runner


def test_weights_keep_the_layout_and_the_results_to_rounding(tmp_path):
    plain, other = trained(tmp_path / "plain").model, trained(tmp_path / "other", [HOOK]).model
    weight = other.backbone.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert plain.backbone.conv1.weight.is_contiguous()
    for (name, one), two in zip(plain.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5, msg=name)


def test_activations_follow(tmp_path):
    runner = build_runner(tmp_path, 1, hooks=[HOOK])
    seen = []
    runner.model.backbone.extra.register_forward_hook(
        lambda module, inputs, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    runner.train()
    assert seen == [True] * 4


def test_a_checkpoint_goes_either_way(tmp_path):
    trained(tmp_path / "other", [HOOK])
    file = str(tmp_path / "other" / "epoch_2.pth")
    saved = torch.load(file, weights_only=False)["state_dict"]
    for name, hooks in (("contiguous", []), ("channels_last", [HOOK])):
        runner = build_runner(tmp_path / name, 1, hooks=hooks, load_from=file)
        runner.call_hook("before_run")
        runner.load_or_resume()
        state = runner.model.state_dict()
        assert all(torch.equal(state[key], saved[key]) for key in saved)
        weight = runner.model.backbone.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == bool(hooks)


TRAINING = """
import sys
import ctc_mm
import torch
from tiny_training import build_runner

wrapper = {"type": "ctc_mm.CPUAmpOptimWrapper", "optimizer": {"type": "Adam", "lr": 0.01}}
runner = build_runner(sys.argv[1], 1, hooks=[{"type": "ctc_mm.ChannelsLastHook"}], optim_wrapper=wrapper)
seen = set()
weight = runner.model.backbone.conv1.weight
before = weight.detach().clone()
layout = torch.channels_last
runner.model.backbone.conv1.register_forward_hook(
    lambda module, inputs, output: seen.add((str(output.dtype), output.is_contiguous(memory_format=layout))))
runner.train()
weight = runner.model.backbone.conv1.weight
print("RESULT", sorted(seen), weight.dtype, weight.is_contiguous(memory_format=layout), torch.equal(before, weight))
"""


def test_together_with_mixed_precision(tmp_path):
    # In a process of its own, as test_amp.py says.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("RESULT")]
    assert lines == ["RESULT [('torch.bfloat16', True)] torch.float32 True False"]
