"""Corrected counts to labels, as a user calls it."""

import importlib.util
import json

import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.formats.coco import read_coco
from ctc_mm.imaging.io import write_image


@pytest.fixture
def main(repo):
    file = repo / "data_converters" / "corrections_to_coco.py"
    spec = importlib.util.spec_from_file_location("corrections_to_coco", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def lab(tmp_path):
    write_image(tmp_path / "slides/a.png", np.zeros((200, 300), np.uint8))
    ring = [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "ctc"}},
    }
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return tmp_path


def test_cut_windows_are_written_beside_the_labels(main, lab, capsys):
    arguments = [
        lab / "a.geojson",
        "--images",
        lab / "slides",
        "--cut",
        "64",
        "--blanks",
        "2",
        "--out",
        lab / "l/a.json",
    ]
    assert run_cli(main, [str(argument) for argument in arguments]) == 0
    assert "cells kept: 1 (CTC 1, WBC 0)" in capsys.readouterr().out
    labelled = read_coco(lab / "l/a.json")
    assert sorted(path.name for path in (lab / "l/images").iterdir()) == [one.file_name for one in labelled.images]
    assert len(labelled.images) == 3
    before = (lab / "l/a.json").read_bytes()
    assert run_cli(main, [str(argument) for argument in arguments]) == 0
    assert (lab / "l/a.json").read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "x.json"],
        ["--images", "slides", "--out", "a.geojson"],
        ["--images", "slides", "--cut", "0", "--out", "x"],
    ],
    ids=["no slides", "over the corrected file", "window of 0 px"],
)
def test_bad_usage(main, lab, monkeypatch, arguments):
    monkeypatch.chdir(lab)
    with pytest.raises(SystemExit) as stop:
        main(["a.geojson", *arguments])
    assert stop.value.code == 2


def test_failure_names_file_and_cure(main, lab, capsys):
    (lab / "b.geojson").write_text("{")
    assert run_cli(main, [str(lab / "b.geojson"), "--images", str(lab / "slides"), "--out", str(lab / "x.json")]) == 1
    assert "b.geojson: not complete JSON" in capsys.readouterr().err
    assert not (lab / "x.json").exists()
