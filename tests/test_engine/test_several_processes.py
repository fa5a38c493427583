"""tools/train.py in two processes on a CPU, joined by gloo, as torchrun starts them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_cells import draw_cells, write_config

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.distributed import launched
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.testing import Weights, choose_on_validation
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.predictions import read_predictions

EXTRA = """
custom_imports = dict(imports=['ctc_mm', 'rank_weights'])
custom_hooks.append(dict(type='KeepRankWeights'))
train_dataloader['sampler'] = dict(type='ctc_mm.DownSampler', ratio=1.0)
val_evaluator = dict(type='ctc_mm.CTCBinaryMetric', out_dir={out_dir!r}, n_resamples=50)
"""
SETS = {"train": (10, 22), "val": (5, 6), "test": (2, 2)}  # 11 cells to validate: two ranks in batches of 4 make 12


@pytest.fixture(scope="module")
def run(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    extra = EXTRA.format(out_dir=str(folder / "validated"))
    config = write_config(folder / "tiny.py", draw_cells(folder / "cells", SETS), extra)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
             repo / "tools/train.py", config, "--launcher", "pytorch", "--work-dir", folder / "work"]  # fmt: skip
    path = os.pathsep.join([str(repo), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def rank(run, number):
    return torch.load(run / f"rank{number}.pth")


def test_both_ranks_end_with_the_same_weights_and_statistics(run):
    first, second = rank(run, 0)["state_dict"], rank(run, 1)["state_dict"]
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_the_sampler_gives_each_cell_to_one_rank(run):
    drawn = rank(run, 0)["drawn"], rank(run, 1)["drawn"]
    assert not set(drawn[0]) & set(drawn[1])
    kinds = [re.search("CTC|WBC", cell)[0] for cell in drawn[0] + drawn[1]]
    assert (kinds.count("CTC"), kinds.count("WBC")) == (10, 10)


def test_validation_counts_no_cell_twice_and_equals_that_of_one_process(run, tmp_path):
    together = read_predictions(run / "validated" / "predictions.csv")
    assert sorted(together.cell_id) == sorted(set(together.cell_id))
    assert len(together.gt) == sum(SETS["val"])
    register_all_modules("mmpretrain")
    config = load_config(run / "tiny.py", {"custom_hooks": []}, tmp_path)
    last = run / "work" / "epoch_2.pth"
    config.load_from = str(last)
    point = choose_on_validation(config, Weights(last, config), tmp_path / "alone")
    alone = read_predictions(tmp_path / "alone" / "predictions.csv")
    assert list(alone.cell_id) == list(together.cell_id)
    np.testing.assert_allclose(alone.score, together.score, atol=1e-5)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (run / "validated", tmp_path / "alone")]
    assert metrics[0].keys() == metrics[1].keys()
    stored = load_checkpoint_safely(best_checkpoint(run / "work"))["meta"]["ctc_operating_point"]
    assert stored["target"] == point["target"] == "CTC"


def test_one_process_changes_nothing():
    config = Config(dict(custom_hooks=[]))
    with launched(config, "none"):
        assert config.to_dict() == dict(custom_hooks=[], launcher="none")


@pytest.mark.parametrize(("launcher", "message"), [("pytorch", "torchrun --nproc-per-node"), ("slurm", "needs GPUs")])
def test_processes_that_nobody_started_are_refused(monkeypatch, launcher, message):
    monkeypatch.delenv("RANK", raising=False)
    if torch.cuda.is_available() and launcher == "slurm":
        pytest.skip("with a GPU it is MMEngine's to say")
    with pytest.raises(ConfigError, match=message), launched(Config(dict()), launcher):
        raise AssertionError("not reached")
