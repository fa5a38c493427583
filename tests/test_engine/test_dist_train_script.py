"""tools/dist_train.sh in two processes on a CPU, with averaged weights and the layout of channels last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_cells import draw_cells, write_config

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.hooks.training_cost_hook import COST_FILE
from ctc_mm.formats.fields import load_json_object

EXTRA = """
custom_imports = dict(imports=['ctc_mm', 'rank_weights'])
custom_hooks += [dict(type='KeepRankWeights'), dict(type='ctc_mm.TrainingCostHook')]
"""
SETS = {"train": (12, 12), "val": (5, 6), "test": (2, 2)}


def call(repo, *words, cwd=None, **variables):
    path = os.pathsep.join([str(repo), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHON": sys.executable, **variables}
    command = [str(repo / "tools/dist_train.sh"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def run(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    config = write_config(folder / "tiny.py", draw_cells(folder / "cells", SETS), EXTRA)
    done = call(repo, config, 2, "--work-dir", folder / "work", "--ema", "--channels-last", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_two_processes_train_one_model(run):
    first, second = (torch.load(run / f"rank{number}.pth")["state_dict"] for number in (0, 1))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert first["backbone.layer1.0.conv1.weight"].is_contiguous(memory_format=torch.channels_last)
    drawn = [torch.load(run / f"rank{number}.pth")["drawn"] for number in (0, 1)]
    assert not set(drawn[0]) & set(drawn[1])
    assert len({*drawn[0], *drawn[1]}) == 24
    cost = load_json_object(run / "work" / COST_FILE).value
    assert (cost["processes"], cost["epochs"], cost["complete"]) == (2, 2, True)


def test_the_average_saved_is_that_of_both_processes(run):
    checkpoint = load_checkpoint_safely(run / "work" / "epoch_2.pth")
    average, trained = checkpoint["state_dict"], checkpoint["ema_state_dict"]
    name = "backbone.bn1.running_mean"
    assert not torch.equal(average[name], trained[f"module.{name}"])
    # Two steps an epoch: the second epoch's are averaged in with 1/2 each, then the processes'; the weights being
    # trained are the same in both, so their statistics were averaged too.
    final = torch.load(run / "rank0.pth")["state_dict"]
    assert torch.equal(trained[f"module.{name}"], final[name])
    assert not torch.equal(average["backbone.conv1.weight"], final["backbone.conv1.weight"])


@pytest.mark.parametrize(
    ("words", "variables", "code", "message"),
    [
        ([], {}, 2, "usage: tools/dist_train.sh CONFIG PROCESSES"),
        (["a.py"], {}, 2, "usage: tools/dist_train.sh"),
        (["a.py", "two"], {}, 2, "PROCESSES must be a whole number of at least 1. Received: two"),
        (["a.py", "2"], {"NNODES": "2"}, 2, "set MASTER_ADDR to the address of the first machine"),
        (["a.py", "2"], {"NNODES": "2x"}, 2, "NNODES must be a whole number, NNODES at least 1"),
        (["a.py", "2"], {"NNODES": "0"}, 2, "NODE_RANK from 0. Received: 0"),
        (["a.py", "2"], {"NNODES": "2", "NODE_RANK": "-1"}, 2, "NODE_RANK must be a whole number"),
        (["configs/none.py", "2"], {}, 2, "error: configs/none.py: no such config"),
    ],
)
def test_mistakes_end_with_a_line_that_helps(repo, words, variables, code, message):
    done = call(repo, *words, **variables)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_help_has_an_example(repo):
    done = call(repo, "--help")
    assert done.returncode == 0
    assert "example: tools/dist_train.sh configs/ssd_cbam_vgg16_ctc.py 4" in done.stdout
