"""The benchmark of nuclei and the fit of their merging, on two drawn images in place of the shared ones."""

import importlib
import json
import sys

import cv2
import numpy as np
import pytest

from ctc_mm.imaging import nuclei_merge
from ctc_mm.imaging.io import write_image

MODULES = {"imaging", "imaging_nuclei", "fit_nucleus_merge"}


@pytest.fixture
def scripts(repo, monkeypatch):
    """Imports a script of benchmarks/ by name, as if it were run there."""
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in MODULES - before:
        sys.modules.pop(name, None)


@pytest.fixture
def data(tmp_path):
    """A folder like the shared data's: one image of nuclei in each set, touching pairs and single ones."""
    rng = np.random.default_rng(0)
    for folder, suffix, dtype, top in (
        ("nuclei_bbbc039", ".tif", np.uint16, 3000),
        ("nuclei_dsb2018", ".png", np.uint8, 180),
    ):
        truth = np.zeros((160, 200), np.uint16)
        places = [(30, 30), (58, 30), (120, 40), (50, 110), (78, 110), (106, 110), (160, 120)]
        for number, place in enumerate(places, start=1):
            cv2.circle(truth, place, 13, number, -1)
        light = (
            cv2.GaussianBlur((truth > 0) * float(top), (0, 0), 1.2) + top / 10 + rng.normal(0, top / 100, truth.shape)
        )
        for kind in ("images", "labels"):
            (tmp_path / "data" / folder / kind).mkdir(parents=True)
        write_image(tmp_path / "data" / folder / "images" / f"field{suffix}", light.astype(dtype))
        write_image(tmp_path / "data" / folder / "labels" / "field.png", truth)
    return tmp_path / "data"


def test_nuclei_are_scored_and_timed_beside_scikit_image(scripts, data, tmp_path, capsys):
    out = tmp_path / "imaging.json"
    scripts("imaging").main(["--data", str(data), "--out", str(out), "--parts", "nuclei"])
    sets = json.loads(out.read_text())["nuclei"]
    assert list(sets) == ["BBBC039", "DSB2018"]
    for result in sets.values():
        assert (result["images"], result["megapixels"]) == (1, 0.03)
        assert list(result["methods"]) == ["scikit-image", "paper", "robust"]
        robust = result["methods"]["robust"]
        assert (robust["f1"], robust["count_error"], robust["tp"]) == (1.0, 0.0, 7)
        assert robust["times_scikit_image"] > 0
        assert result["methods"]["scikit-image"]["times_scikit_image"] == 1.0
        assert robust["worst_images"] == [{"name": "field", "f1": 1.0, "tp": 7, "fp": 0, "fn": 0}]


def test_missing_data_is_named(scripts, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        scripts("imaging").main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x.json")])
    with pytest.raises(FileNotFoundError, match="no images of BBBC039"):
        scripts("imaging").main(["--data", str(tmp_path), "--out", str(tmp_path / "x.json"), "--parts", "nuclei"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--parts", "mitoses"], ["--threads", "-1"]])
def test_bad_usage(scripts, tmp_path, arguments):
    with pytest.raises(SystemExit) as stopped:
        scripts("imaging").parse_args(["--data", str(tmp_path), "--out", "x.json", *arguments])
    assert stopped.value.code == 2


def test_fit_separates_halves_of_one_from_neighbours(scripts):
    fit_script = scripts("fit_nucleus_merge")
    rng = np.random.default_rng(0)
    width = len(nuclei_merge.MEASURES)
    measures = rng.normal(0, 1, (400, width))
    is_one = measures[:, 0] - measures[:, 1] > 0
    weights, bias = fit_script.fit([(measures[:200], is_one[:200]), (measures[200:], is_one[200:])])
    score = measures @ np.array(weights) + bias
    assert ((score > 0) == is_one).mean() > 0.97
    assert weights[0] > 5 * max(abs(w) for w in weights[2:])
    assert weights[1] < 0


def test_fit_leaves_the_packages_weights_as_they_are(scripts, data):
    fit_script = scripts("fit_nucleus_merge")
    items = scripts("imaging_nuclei").read_truth_images(data, "DSB2018")
    before = nuclei_merge.WEIGHTS, nuclei_merge.BIAS
    f1, count_error = fit_script.f1_with((0.0,) * len(nuclei_merge.MEASURES), 99.0, items)
    assert before == (nuclei_merge.WEIGHTS, nuclei_merge.BIAS)
    # With such weights all neighbours are put together: 4 objects of 7, of which 2 are right.
    assert f1 < 0.6
    assert count_error > 0.3
    measures, is_one = fit_script.examples_of(items[0].image, items[0].truth)
    assert measures.shape == (len(is_one), len(nuclei_merge.MEASURES))
    assert len(is_one) >= 3
    assert not is_one.all()
