"""The comparison by its command: two tiny detectors from training to table, and mistakes."""

import json
import re
import sys
from pathlib import Path

import pytest
from called_tool import call

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_engine"))
from tiny_fields import draw_fields, write_field_config

KEEPS = """
data_root = ''
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='ctc/mAP50', rule='greater'))
custom_hooks = [dict(type='ctc_mm.OperatingPointHook')]
optim_wrapper.update(optimizer=dict(type='Adam', lr={lr}))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Configs of two detectors on the same four fields."""
    folder = tmp_path_factory.mktemp("tiny")
    data = draw_fields(folder / "data", count=4)
    return [
        write_field_config(folder / f"{name}.py", data, KEEPS.format(lr=lr)) for name, lr in (("a", 0.001), ("b", 0.01))
    ]


def test_two_detectors_from_training_to_table(repo, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "out"
    words = [*tiny, "--seeds", "1", "--epochs", "1", "--rounds", "2", "--batch-sizes", "1", "2", "--resamples", "50"]
    done = call(repo, "compare", *words, "--jobs", "2", "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^a +mAP50 \d\.\d{3}  f1@frozen \d\.\d{3}$", done.stdout, re.MULTILINE)
    content = json.loads((out / "comparison.json").read_text())
    assert [row["name"] for row in content["models"]] == ["a", "b"]
    for row in content["models"]:
        tested = json.loads((out / "runs" / row["name"] / "seed_0" / "test" / "metrics.json").read_text())
        for name in ("mAP50", "mAP", "AP50_CTC", "precision@0.5", "f1@0.5", "recall_WBC"):
            mine = row["figures"][f"{name}@0.5" if name == "recall_WBC" else name]["values"][0]
            assert mine == pytest.approx(tested["values"][name], abs=1e-9), name
        assert row["cost"]["gflops"] > 0.05
        assert row["cost"]["peak_mib"] > row["cost"]["libraries_mib"]
        assert row["speed"]["fps_batch_1"] > 0
        assert row["speed"]["best_batch"] in (1, 2)
        assert row["training"]["epochs"] == [1]
        assert row["training"]["cpu_s"] > 0
        config = (out / "runs" / row["name"] / "seed_0" / "config.py").read_text()
        assert "ctc_mm.ChannelsLastHook" in config
    assert content["models"][0]["cost"]["parameters_m"] == content["models"][1]["cost"]["parameters_m"]
    assert content["speed_machine"]["threads"] == 1

    before = {path: path.stat().st_mtime_ns for path in out.glob("*/**/*.json") if "spec" not in path.name}
    table = {name: (out / f"comparison.{name}").read_bytes() for name in ("md", "csv", "png", "json")}
    again = call(repo, "compare", *words, "--jobs", "2", "--out", out, "--device", "cpu")
    assert again.returncode == 0, again.stderr
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if after[path] != before[path]} <= {"run.json"}
    assert {name: (out / f"comparison.{name}").read_bytes() for name in table} == table


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "required: CONFIG"),
        (["configs/nothing.py"], 1, "configs/nothing.py: no such config"),
        (["A", "--seeds", "0"], 1, "--seeds must be 1 or more"),
        (["A", "--seed-list", "1", "1"], 1, "different numbers"),
        (["A", "B", "--baseline", "c"], 1, "--baseline c: none of the configs has this name"),
        (["A", "--batch-sizes", "4"], 1, "--batch-sizes rise from 1"),
        (["A", "--trained", "a"], 1, "--trained takes NAME=WORK_DIR"),
        (["A", "--trained", "a=no/such"], 1, "no/such is not there"),
        (["A", "--data-root", "no/such/"], 1, "no/such.*no such annotation file"),
        (["configs/classification/light_cells.py"], 1, "is a classifier's config; tools/compare.py compares detectors"),
    ],
    ids=["usage", "no_config", "seeds", "seed_list", "baseline", "batches", "pair", "path", "data", "classifier"],
)
def test_mistakes_end_with_a_line_that_helps(repo, tiny, tmp_path, words, code, message):
    names = {"A": tiny[0], "B": tiny[1]}
    done = call(repo, "compare", *(names.get(word, word) for word in words), "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert not (tmp_path / "out" / "runs").exists()
