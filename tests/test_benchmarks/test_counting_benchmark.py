"""The counting benchmark on a slide of a few windows; its figures are not tested, its comparison is."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

HERE = Path(__file__).resolve().parent
MODULES = ("counting", "counting_runs", "counting_memory", "counting_sahi", "common")


@pytest.fixture(scope="module", autouse=True)
def process_state():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE.parent / "test_engine"))
        from process_state import process_state_kept

        with process_state_kept():
            yield


@pytest.fixture
def script(repo, monkeypatch):
    """Imports a script of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield lambda name: __import__(name)
    for name in set(MODULES) - before:
        sys.modules.pop(name, None)


@pytest.fixture
def tiny_model(script, tmp_path):
    return script("counting_memory").write_tiny_model(tmp_path)


def test_help_is_light(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script("counting").main(["speed", "--help"])
    assert ended.value.code == 0
    assert "--checkpoint" in capsys.readouterr().out


def test_speeds_are_compared_round_by_round(script):
    seconds = {"model alone": [[1.0, 2.0], [10.0, 2.0]], "ours": [[1.25, 2.5], [8.0, 2.5]]}
    told = script("counting").speed_table(seconds, "model alone", 5.0).splitlines()
    assert told[3] == "| ours | 4.00 | 1.08 | 0.800 | 1.025 (0.913-1.137) | 0.800 |"


def test_all_ways_look_at_the_same_windows(script, tiny_model, tmp_path, capsys):
    pytest.importorskip("sahi", reason="SAHI is not installed (pip install sahi)")
    runs = script("counting_runs").DetectorRuns({**tiny_model, "batch_size": 3}, 800, 0, tmp_path)
    for run in (runs.model_alone, runs.ours, runs.ours_on_every_window, runs.sahi):
        run()
    assert set(runs.found) == {"model alone", "ours", "ours, every window", "SAHI"}
    assert sum(len(batch) for batch in runs.batches) == 9
    assert "9 windows of 320 x 320 px" in runs.describe()


def test_a_large_slide_is_written_in_parts(script, tmp_path):
    path = tmp_path / "slide.tif"
    script("counting_memory").write_large_slide(path, 1100, np.random.default_rng(0))
    image = tifffile.imread(path)
    assert image.shape == (1100, 1100, 3)
    assert 150 < image.mean() < 190
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].tile == (512, 512)


def test_memory_is_told_beyond_the_model(script, tmp_path):
    memory = script("counting_memory")
    memory.write_large_slide(tmp_path / "slide.tif", 700, np.random.default_rng(0))
    told = memory.count_large_slide(tmp_path / "slide.tif", tmp_path, 1)
    found = told["memory_mib"]
    assert found["beyond the model"] == pytest.approx(found["peak"] - found["with the model loaded"])
    assert told["windows"] == 9
    # Merging, JSON and the report have something to work on: discs of up to four tiles.
    assert 4 <= sum(told["counts"].values()) <= 16
    assert {"count.json", "cells.geojson", "report.html"} <= set(told["files_mib"])


def test_imfish_route_and_functions_find_the_same(script, tmp_path):
    runs = script("counting_runs").ImFISHRuns(1000, 0, 2, tmp_path)
    runs.array_functions()
    runs.ours()
    assert runs.found["ours"] == runs.found["array functions"] > 0
