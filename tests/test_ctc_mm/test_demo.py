"""The demo's own part: which commands it runs, what it reuses, what it prints. The commands have tests of their own."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import ctc_mm.demo.commands as demo_commands
import ctc_mm.demo.run as demo
from ctc_mm.cli import run_cli
from ctc_mm.counting.count_card import make_card, write_card
from ctc_mm.counting.records import AnalysedArea, CountedCell, SlideCount
from ctc_mm.counting.slide_list import find_slides
from ctc_mm.formats.files import write_json

RATES = {"score_thr": 0.4, "precision": 0.9, "recall": 0.8, "f1": 0.847, "TP": 8, "FP": 1, "FN": 2}
METRICS = {
    "classes": ["CTC", "WBC"],
    "per_class": {
        "CTC": {"AP": 0.91, "at_frozen_thr": RATES, "at_score_thr": RATES | {"recall": 0.5}},
        "WBC": {"AP": None, "at_frozen_thr": None, "at_score_thr": RATES | {"precision": None}},
    },
}
RATE = {"value": 0.75, "interval": [0.52, 0.9]}
CELL_METRICS = {
    "samples_by_label": {"CTC": 4, "WBC": 9},
    "confidence": 0.95,
    "AUC": {"value": 0.987, "interval": [0.95, 1.0]},
    "operating_points": {"youden": {"sensitivity": RATE, "specificity": RATE}},
    "size_baseline": {"AUC": {"value": 0.654, "interval": None}, "sensitivity": {"value": None}, "specificity": RATE},
}
SETTINGS = demo.DemoSettings(
    train_fields=2, val_fields=1, test_fields=2, side_px=160, epochs=1, explained=1, slide_px=720
)
FOUND = {"blank_1": 0, "blank_2": 1, "spiked_15": 15, "spiked_30": 22, "P1": 11}


def write_cards(table, out_dir):
    """Count cards as if these numbers had been found."""
    for spec in find_slides([table]):
        cells = tuple(CountedCell((10.0 * i, 0, 10.0 * i + 9, 9), "CTC") for i in range(FOUND[spec.name]))
        count = SlideCount(
            spec=spec, size_wh=(720, 720), um_per_px=0.4, um_per_px_source="file", channels=("bright-field",),
            route="detect", definition="a box", target="CTC", classes=("CTC", "WBC", "unidentified"), cells=cells,
            thresholds={}, settings={}, model=None, area=AnalysedArea(720 * 720),
        )  # fmt: skip
        (out_dir / spec.name).mkdir(parents=True, exist_ok=True)
        write_card(out_dir / spec.name / "count.json", make_card(count))


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Record the commands instead of running them, and leave behind what they would."""
    ran = []

    def record(script, *words):
        ran.append([script, *map(str, words)])
        out = {word: Path(value) for word, value in pairwise(ran[-1]) if word in ("--out", "--work-dir")}
        if script == "tools/train.py":
            out["--work-dir"].mkdir(exist_ok=True)
            (out["--work-dir"] / "best_ctc_mAP50_epoch_1.pth").touch()
        if script == "tools/test.py":
            is_cells = out["--out"].name == "cell_test"
            write_json(out["--out"] / "metrics.json", CELL_METRICS if is_cells else METRICS)
            write_json(out["--out"] / "speed.json", {"model_alone": {"fps": 5.0}, "device": "cpu"})
        if script == "tools/count.py":
            write_cards(ran[-1][1], out["--out"])

    monkeypatch.setattr(demo_commands, "run", record)
    return ran


def scripts(commands):
    return [words[0].rpartition("/")[2] for words in commands]


USED = ["test.py", "explain.py", "test.py", "explain.py", "tsne.py", "count.py"]
CELLS = ["coco_to_cells.py"] * 3 + ["train.py"]
WHOLE = ["labelme_to_coco.py"] * 3 + ["train.py"] + CELLS + USED


def test_whole_chain_in_order_then_only_what_is_cheap(commands, tmp_path):
    result = demo.run_demo(tmp_path, SETTINGS)
    assert (result["detector"], result["classifier"]) == (METRICS, CELL_METRICS)
    assert scripts(commands) == WHOLE
    assert len(list((tmp_path / "data/images/train").glob("*.png"))) == 2
    explain, explain_cells = (words for words in commands if words[0] == "tools/explain.py")
    assert sum(word.endswith(".png") for word in explain) == SETTINGS.explained
    assert any(word.endswith("best_ctc_mAP50_epoch_1.pth") for word in explain)
    assert str(tmp_path / "cells" / "test" / "cells.csv") in explain_cells
    commands.clear()
    demo.run_demo(tmp_path, SETTINGS)
    assert scripts(commands) == USED


@pytest.mark.parametrize("change", ["settings", "weights", "again"])
def test_anything_changed_starts_anew(commands, tmp_path, change):
    demo.run_demo(tmp_path, SETTINGS)
    commands.clear()
    (tmp_path / "model" / "best_ctc_mAP50_epoch_9.pth").touch()  # what a former training left
    if change == "weights":
        for path in (tmp_path / "model").glob("*.pth"):
            path.unlink()
    settings = demo.DemoSettings(**{**vars(SETTINGS), "seed": 1}) if change == "settings" else SETTINGS
    demo.run_demo(tmp_path, settings, again=change == "again")
    assert scripts(commands) == WHOLE
    for folder in ("model", "cell_model"):
        assert [path.name for path in (tmp_path / folder).glob("*.pth")] == ["best_ctc_mAP50_epoch_1.pth"]
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == settings.seed


def test_a_classifier_that_is_not_there_is_trained_alone(commands, tmp_path):
    demo.run_demo(tmp_path, SETTINGS)
    commands.clear()
    (tmp_path / "cell_model" / "best_ctc_mAP50_epoch_1.pth").unlink()
    demo.run_demo(tmp_path, SETTINGS)
    assert scripts(commands) == CELLS + USED


def test_slides_are_counted_beside_what_is_on_them(commands, tmp_path, capsys):
    counts = demo.run_demo(tmp_path, SETTINGS)["counts"]
    assert {name: one["truth"] for name, one in counts.items()} == {
        "blank_1": 0, "blank_2": 0, "spiked_15": 15, "spiked_30": 30, "P1": 12,
    }  # fmt: skip
    assert {name: one["count"] for name, one in counts.items()} == FOUND
    # One cell on a blank: 0.03 to 5.57 leaves 0 out; 22 of 30: 13.79 to 33.31.
    assert {name for name, one in counts.items() if one["inside"]} == {"blank_1", "spiked_15", "spiked_30", "P1"}
    shown = capsys.readouterr().out
    assert "13.8-33.3" in shown
    assert shown.splitlines()[-1] == "the true count lies inside its interval on all 3 slides with CTCs"
    for file in ("counts/P1/report.html", "counts/P1/count.json", "counts/index.html"):
        assert str(tmp_path / file) in shown
    (count,) = (words for words in commands if words[0] == "tools/count.py")
    assert count[1:4] == [str(tmp_path / "slides" / "slides.csv"), "--route", "detect"]
    assert any(word.endswith("best_ctc_mAP50_epoch_1.pth") for word in count)


@pytest.mark.parametrize("name", ["spiked_30", "P1"])
def test_a_true_count_outside_its_interval_fails_the_demo(commands, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setitem(FOUND, name, 3)
    assert run_cli(lambda _: demo.run_demo(tmp_path, SETTINGS)) == 1
    told = capsys.readouterr()
    assert str(tmp_path / "counts/P1/report.html") in told.out
    on_it = {"spiked_30": 30, "P1": 12}[name]
    line = f"error: the true count lies outside its interval: {name}: {on_it} on it, 3 counted (0.6-8.8)"
    assert told.err.splitlines()[-1] == line


def test_every_cell_command_is_told_data_and_channel(commands, tmp_path):
    demo.run_demo(tmp_path, SETTINGS)
    told = [words for words in commands if "configs/classification/light_cells.py" in words]
    assert len(told) == 4
    for words in told:
        assert f"test_dataloader.dataset.data_root={tmp_path / 'cells' / 'test'}" in words
        assert "channels=bright-field" in words


def test_interrupted_training_is_not_taken_for_done(commands, tmp_path, monkeypatch):
    demo.run_demo(tmp_path, SETTINGS)

    def fail(script, *words):
        if script == "tools/train.py":
            raise RuntimeError("stopped")

    monkeypatch.setattr(demo_commands, "run", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        demo.run_demo(tmp_path, SETTINGS, again=True)
    assert not (tmp_path / "settings.json").exists()


def test_summary_shows_the_frozen_threshold_and_every_path(commands, tmp_path, capsys):
    demo.run_demo(tmp_path, SETTINGS)
    shown = capsys.readouterr().out
    assert "0.910" in shown
    assert "0.800" in shown
    assert "0.500" not in shown
    assert "0.987 (0.950-1.000)" in shown
    assert "0.654" in shown
    assert "0.750 (0.520-0.900)" in shown
    assert "4 CTC, 9 WBC" in shown
    for part in (
        "test/metrics.json",
        "test/pr_curve.png",
        "explained",
        "model",
        "cell_test/roc.png",
        "cell_map/tsne.html",
    ):
        assert str(tmp_path / part) in shown


def test_map_on_cells_is_the_median_over_fields_with_boxes(tmp_path):
    assert np.isnan(demo.map_on_cells(tmp_path))
    box = np.array([[0, 0, 2, 2]], np.float32)
    for name, inside, explained in (("a", 8.0, True), ("b", 2.0, True), ("c", 4.0, True), ("blank", 9.0, False)):
        fused = np.ones((4, 4), np.float32)
        fused[:2, :2] = inside
        np.savez(tmp_path / f"{name}.npz", fused=fused, boxes_xyxy=box, explained=np.array([explained]))
    assert demo.map_on_cells(tmp_path) == 4


def test_failed_command_is_named():
    with pytest.raises(RuntimeError, match="python tools/train.py --no-such-option.* ended with code 2"):
        demo_commands.run("tools/train.py", "--no-such-option")
