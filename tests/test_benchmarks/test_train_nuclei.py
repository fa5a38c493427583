"""The script that makes the weights of the nucleus network, on tiny fields and for two steps."""

import importlib
import json
import sys

import cv2
import numpy as np
import pytest


@pytest.fixture
def script(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("train_nuclei")
    for name in {"common", "train_nuclei"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for source in ("nuclei_bbbc039", "nuclei_dsb2018"):
        for part in ("images", "labels"):
            (tmp_path / source / part).mkdir(parents=True)
        for name in "abcd":
            labels = np.zeros((70, 90), np.uint16)
            for number in range(1, 7):
                cv2.circle(labels, (14 * number, int(rng.integers(15, 55))), 6, number, -1)
            image = np.where(labels > 0, 200, 20).astype(np.uint8)
            cv2.imwrite(str(tmp_path / source / "images" / f"{name}.png"), image)
            cv2.imwrite(str(tmp_path / source / "labels" / f"{name}.png"), labels)
    return tmp_path


def test_unknown_round_is_refused(script, data, tmp_path):
    with pytest.raises(ValueError, match=r"--rounds must be of fold_0, .*, final\. Received: fold_9"):
        script.main(["--data", str(data), "--work-dir", str(tmp_path / "w"), "--rounds", "fold_9"])


def test_rounds_leave_networks_and_scores(script, data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="the export needs the extra `export`")
    from ctc_mm.imaging import nuclei_net
    from ctc_mm.models.nuclei_net import training

    monkeypatch.setattr(training, "SYNTHETIC_FIELDS", 2)
    work_dir, out = tmp_path / "work", tmp_path / "nuclei.onnx"
    arguments = ["--data", str(data), "--work-dir", str(work_dir), "--steps", "2", "--rounds", "fold_1", "final"]
    script.main([*arguments, "--out", str(out)])
    assert out.read_bytes() == (work_dir / "final.onnx").read_bytes() != (work_dir / "fold_1.onnx").read_bytes()
    scores = json.loads((work_dir / "scores.json").read_text())
    assert set(scores) == {"fold_1"}
    assert set(scores["fold_1"]) == {"nuclei_bbbc039", "nuclei_dsb2018"}
    assert "| fold_1 | nuclei_dsb2018 |" in capsys.readouterr().out
    image = cv2.imread(str(data / "nuclei_bbbc039" / "images" / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert nuclei_net.segment(image, weights=out).shape == image.shape
