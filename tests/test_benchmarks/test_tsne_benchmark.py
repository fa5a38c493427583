"""benchmarks/tsne.py: its sets, its contestants and its table; times are not tested."""

import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture
def benchmark(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("tsne")
    for name in {"common", "tsne"} - before:
        sys.modules.pop(name, None)


def test_sets_have_the_papers_imbalance(benchmark):
    features, labels = benchmark.planted(benchmark.TASKS[0], 1.0, 0)
    assert features.shape == (14_166, 512)
    assert features.dtype == np.float32
    assert np.bincount(labels).tolist() == [694, 13_472]
    assert len(benchmark.planted(benchmark.TASKS[1], 0.02, 0)[0]) == 100


def test_table_and_numbers(benchmark, tmp_path, capsys, monkeypatch):
    smaller = [replace(task, counts=(20, 20), length=8) for task in benchmark.TASKS]
    monkeypatch.setattr(benchmark, "TASKS", smaller)
    names = benchmark.contestants(jobs=1, seed=0)
    monkeypatch.setattr(benchmark, "contestants", lambda jobs, seed: dict.fromkeys(names, lambda x: x[:, :2]))
    benchmark.main(["--rounds", "1", "--jobs", "1", "--out", str(tmp_path / "out.json")])
    text = capsys.readouterr().out
    assert "| 14,166 x 512 | ctc_mm, openTSNE |" in text
    content = json.loads((tmp_path / "out.json").read_text())
    assert [one["contestant"] for one in content["outcomes"]] == [
        "ctc_mm, openTSNE", "openTSNE alone", "ctc_mm, openTSNE", "ctc_mm, scikit-learn", "openTSNE alone",
        "scikit-learn alone",
    ]  # fmt: skip
    assert len({one["kl_divergence"] for one in content["outcomes"][:2]}) == 1  # the same coordinates
    assert content["outcomes"][0]["seconds"][0] < 1


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--jobs", "0"], ["--scale", "2"]])
def test_bad_numbers_are_exit_2(benchmark, words):
    with pytest.raises(SystemExit) as stopped:
        benchmark.parse_args(words)
    assert stopped.value.code == 2
