"""The tables that ``benchmarks/imaging.py`` prints: made from what the parts measure."""

import importlib
import json

import cv2
import numpy as np
import pytest


@pytest.fixture
def benchmarks(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    return importlib.import_module


def test_cells_are_scored_beside_the_papers_recipe(benchmarks):
    module = benchmarks("imaging_cells")
    result = module.benchmark_cells(fields=1)
    for methods in result["kinds"].values():
        assert methods["robust"]["f1"] > methods["paper"]["f1"]
        assert 0 <= methods["robust"]["cells_without_object"] <= methods["robust"]["cells"]
    text = module.cells_markdown(result)
    assert f"{result['kinds']['ordinary']['robust']['f1']:.3f}" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 2 * len(result["kinds"])


def test_script_writes_json_and_prints_the_tables(benchmarks, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out.json"
    rng = np.random.default_rng(0)
    for name in ("nuclei_bbbc039", "nuclei_dsb2018"):
        truth = np.zeros((128, 128), np.uint16)
        for label, centre in enumerate(((32, 32), (32, 96), (96, 64)), start=1):
            cv2.circle(truth, centre, 10, label, -1)
        image = np.where(truth > 0, 150, 20) + rng.normal(0, 3, truth.shape)
        for folder in ("images", "labels"):
            (data / name / folder).mkdir(parents=True)
        cv2.imwrite(str(data / name / "images" / "a.png"), image.astype(np.uint8))
        cv2.imwrite(str(data / name / "labels" / "a.png"), truth)
    benchmarks("imaging").main(["--data", str(data), "--out", str(out), "--parts", "nuclei"])
    robust = json.loads(out.read_text())["nuclei"]["BBBC039"]["methods"]["robust"]
    assert (robust["tp"], robust["fp"], robust["fn"]) == (3, 0, 0)
    assert "| BBBC039 | robust | 1.000 / 1.000 | 0.0 % |" in capsys.readouterr().out
