"""tools/count.py with real networks, small ones: from config and checkpoint to count, report and tables."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.imaging.io import write_ome_tiff
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "test_counting" / "test_engines"), str(TESTS / "test_engine")]

from process_state import process_state_kept  # noqa: E402
from tiny_engines import draw_windows, write_classifier, write_detector  # noqa: E402

SIZE_WH = (160, 130)


@pytest.fixture(scope="module", autouse=True)
def process_state():
    with process_state_kept():
        yield


@pytest.fixture(scope="module")
def main(repo):
    spec = importlib.util.spec_from_file_location("count_tool", repo / "tools" / "count.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Two fields of bright discs."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("a", "b")):
        discs = np.max([draw_windows(1, side=max(SIZE_WH), seed=10 * seed + one)[0] for one in range(5)], axis=0)
        write_ome_tiff(folder / f"{name}.ome.tif", discs[: SIZE_WH[1], : SIZE_WH[0], 0][None], ("brightfield",), 0.5)
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    files = write_detector(tmp_path_factory.mktemp("detector"), seed=3)
    return ["--config", files["config"], "--checkpoint", files["checkpoint"], "--max-cell-um", "11.5"]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_detect(main, slides, detector, tmp_path):
    shared = [str(slides), "--route", "detect", *detector, "--overlap-px", "24", "--batch-size", "4"]
    assert run_cli(main, [*shared, "--tile-px", "64", "--out", str(tmp_path / "tiles")]) == 0
    assert run_cli(main, [*shared, "--no-report", "--out", str(tmp_path / "whole")]) == 0
    card = json.loads((tmp_path / "tiles" / "a" / "count.json").read_text())
    rows = rows_of(tmp_path / "tiles" / "a" / "detections.csv")
    assert card["ctc"]["count"] == sum(row["class"] == "CTC" for row in rows) > 20
    assert card["model"]["engine"] == "torch"
    assert set(card["model"]["hashes"]) == {"config", "checkpoint"}
    for name in ("a/detections.csv", "a/count.json", "b/cells.geojson", "b/count.json", "slides.csv", "summary.json"):
        assert (tmp_path / "tiles" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    report = (tmp_path / "tiles" / "b" / "report.html").read_text()
    assert "Grad-CAM" in report
    assert (tmp_path / "tiles" / "index.html").is_file()


def test_pixel_size_is_given_for_files_that_have_none(main, detector, tmp_path, capsys):
    image = draw_windows(1, side=160, seed=1)[0]
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 0])
    shared = [str(tmp_path / "grey.png"), "--route", "detect", *detector, "--no-report", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(shared)
    assert ended.value.code == 1
    assert "--um-per-px" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*shared, "--um-per-px", "0.8"])
    assert "grey has 0.8 um per px, the model was trained at 0.5" in capsys.readouterr().out
    assert run_cli(main, [*shared, "--um-per-px", "0.8", "--resample"]) == 0
    card = json.loads((tmp_path / "out" / "grey" / "count.json").read_text())
    assert (card["slide"]["um_per_px"], card["slide"]["um_per_px_source"]) == (0.8, "given")


def test_classify(main, tmp_path):
    config = BrightfieldPhantomConfig(image_wh=(420, 360), um_per_px=1.0, ctc_count=(6, 6), wbc_count=(30, 30))
    field = generate_field(config, np.random.default_rng(3), blank=False)
    write_ome_tiff(tmp_path / "p1.ome.tif", field.image[None], ("brightfield",), 1.0)
    files = write_classifier(tmp_path)
    arguments = [
        str(tmp_path / "p1.ome.tif"), "--route", "classify", "--config", files["config"],
        "--checkpoint", files["checkpoint"], "--settings", "crop_px=24", "--volume-ml", "0.5",
    ]  # fmt: skip
    assert run_cli(main, [*arguments, "--out", str(tmp_path / "out")]) == 0
    card = json.loads((tmp_path / "out" / "p1" / "count.json").read_text())
    assert sum(card["counts"].values()) >= 30
    assert card["ctc_per_ml"]["value"] == card["ctc"]["count"] / 0.5
    assert card["definition"]
    assert (tmp_path / "out" / "p1" / "report.html").is_file()


def test_model_of_another_kind_is_refused_before_counting(main, slides, tmp_path, capsys):
    files = write_classifier(tmp_path)
    arguments = ["--route", "detect", "--config", files["config"], "--checkpoint", files["checkpoint"]]
    assert run_cli(main, [str(slides), *arguments, "--out", str(tmp_path / "out")]) == 1
    assert "builds a classifier, where a detector is needed" in capsys.readouterr().err


def test_unreadable_model_is_refused_before_counting(main, slides, detector, tmp_path, capsys):
    (tmp_path / "junk.pth").write_text("junk")
    arguments = ["--route", "detect", *detector[:3], str(tmp_path / "junk.pth"), "--out", str(tmp_path / "out")]
    assert run_cli(main, [str(slides), *arguments]) == 1
    assert "junk.pth: not a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a").exists()
