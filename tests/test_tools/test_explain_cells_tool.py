"""tools/explain.py on a small classifier: tables, folders, thresholds, white levels, exit codes."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.registry import MODELS

import ctc_mm.models  # noqa: F401
from ctc_mm.cli import run_cli
from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.formats.cell_set import CellRow, CellSetWriter


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool(repo):
    return load_module(repo / "tools" / "explain.py")


@pytest.fixture(autouse=True)
def _process_as_before(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    schemes = dict(CheckpointLoader._schemes)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
    CheckpointLoader._schemes = schemes


def save_checkpoint(path, model, threshold=0.5, **dataset_meta):
    point = ClassificationPoint(
        target="CTC",
        thresholds={"youden": threshold, "wanted_sensitivity": 0.0, "wanted_fpr": None},
        wanted_sensitivity=0.95,
        wanted_fpr=0.01,
        temperature=1.0,
        n_target=5,
        n_rest=5,
    )
    meta = dict(dataset_meta=dict(classes=("CTC", "WBC"), **dataset_meta), ctc_operating_point=point.to_dict())
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


@pytest.fixture(scope="module")
def trained(repo, tmp_path_factory):
    """A set of cells in two channels, a config for one of them, and random weights that tell cells apart."""
    tiny = load_module(repo / "tests" / "test_engine" / "tiny_cells.py")
    folder = tmp_path_factory.mktemp("trained")
    tiny.draw_cells(folder / "cells", channels=("brightfield", "dapi"))
    tiny.write_config(folder / "cells.py", folder / "cells")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(Config.fromfile(folder / "cells.py").model)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    save_checkpoint(folder / "cells.pth", model, white_level=255.0, channel="brightfield")
    return folder, model


def run(tool, trained, *args, checkpoint="cells.pth"):
    folder, _ = trained
    return run_cli(tool.main, [str(folder / "cells.py"), str(folder / checkpoint), *map(str, args)])


def read_list(out):
    return json.loads((out / "explain.json").read_text())


def test_a_table_gives_pictures_maps_sheet_and_list(tool, trained, tmp_path, capsys):
    assert run(tool, trained, trained[0] / "cells" / "cells.csv", "--out", tmp_path) == 0
    content = read_list(tmp_path)
    cells = content["cells"]
    assert len(cells) == 50  # all splits, one of the two channels
    assert {cell["channel"] for cell in cells} == {"brightfield"}
    assert content["score_thr"] == 0.5
    assert content["contact_sheets"] == ["contact_sheet.png"]
    assert f"50 cells explained, {content['wrong']} of 50" in capsys.readouterr().out
    assert sum(cell["wrong"] for cell in cells) == content["wrong"]
    assert {path.name for path in tmp_path.iterdir()} == {"cells", "contact_sheet.png", "explain.json"}
    for cell in cells:
        assert cell["predicted"] == ("CTC" if cell["score"] >= 0.5 else "WBC")
        assert cell["truth"] == cell["cell_id"].split("_")[1]
        assert cell["wrong"] == (cell["truth"] != cell["predicted"])
        assert sum(cell["scores"]) == pytest.approx(1, abs=1e-5)
        maps = np.load(tmp_path / cell["maps"])
        assert set(maps.files) == {"cam", "raw", "scores", "logits", "predicted", "explained", "layer"}
        assert maps["cam"].shape == (24, 24)
        assert str(maps["layer"]) == cell["layer"]
        assert maps["scores"].tolist() == cell["scores"]
        picture = cv2.imread(str(tmp_path / cell["overlay"]))
        assert picture.shape == (300 + 26, 2 * 300 + 6, 3)


def test_a_cell_is_called_the_target_from_the_threshold_on(tool, trained, tmp_path):
    table = trained[0] / "cells" / "cells.csv"
    assert run(tool, trained, table, "--split", "test", "--out", tmp_path) == 0
    median = float(np.median([cell["score"] for cell in read_list(tmp_path)["cells"]]))
    assert run(tool, trained, table, "--split", "test", "--score-thr", median, "--out", tmp_path) == 0
    content = read_list(tmp_path)
    assert content["score_thr"] == median
    assert [cell["predicted"] == "CTC" for cell in content["cells"]] == [
        cell["score"] >= median for cell in content["cells"]
    ]
    assert sum(cell["predicted"] == "CTC" for cell in content["cells"]) == 8


def test_a_split_of_a_table_can_be_chosen(tool, trained, tmp_path):
    assert run(tool, trained, trained[0] / "cells" / "cells.csv", "--split", "test", "--out", tmp_path) == 0
    cells = read_list(tmp_path)["cells"]
    assert len(cells) == 15
    assert all(cell["cell_id"].startswith("test_") for cell in cells)


def test_files_have_no_truth_and_the_same_scores(tool, trained, tmp_path):
    table, folder = trained[0] / "cells" / "cells.csv", trained[0] / "cells" / "test" / "CTC"
    assert run(tool, trained, table, "--split", "test", "--out", tmp_path / "table") == 0
    assert run(tool, trained, folder, "--out", tmp_path / "files") == 0
    of_table = {cell["image"]: cell for cell in read_list(tmp_path / "table")["cells"]}
    cells = read_list(tmp_path / "files")["cells"]
    assert len(cells) == 14  # a folder's files count, whatever their channel
    assert {cell["truth"] for cell in cells} == {None}
    assert read_list(tmp_path / "files")["wrong"] == 0
    shared = [cell for cell in cells if cell["image"] in of_table]
    assert len(shared) == 7
    for cell in shared:
        assert cell["scores"] == of_table[cell["image"]]["scores"]
        mine, theirs = (np.load(tmp_path / name / cell["maps"])["raw"] for name in ("files", "table"))
        np.testing.assert_array_equal(mine, theirs)


def test_options_reach_the_explanation(tool, trained, tmp_path):
    folder = trained[0] / "cells" / "test" / "WBC"
    options = ["--class", "WBC", "--layers", "backbone.layer1", "--against-others", "--score-thr", "wanted_sensitivity"]
    assert run(tool, trained, folder, *options, "--out", tmp_path) == 0
    content = read_list(tmp_path)
    assert (content["class"], content["score_thr"], content["against_others"]) == ("WBC", 0.0, True)
    assert {cell["layer"] for cell in content["cells"]} == {"backbone.layer1"}
    assert {cell["explained"] for cell in content["cells"]} == {"WBC"}
    assert {cell["predicted"] for cell in content["cells"]} == {"CTC"}  # from a score of 0 on


def test_the_white_level_of_the_training_applies(tool, trained, tmp_path):
    """A dim 12-bit cell is read on the scale of the training, not stretched to its own."""
    folder, model = trained
    save_checkpoint(folder / "deep.pth", model, white_level=4095.0, channel="brightfield")
    cell = cv2.imread(str(next((folder / "cells" / "test" / "CTC").glob("*brightfield*"))), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "dim.png"), np.rint(cell / 255 * 800).astype(np.uint16))
    scaled = (np.rint(cell / 255 * 800) / 4095 * 255).astype(np.float32)
    (tmp_path / "eight").mkdir()
    cv2.imwrite(str(tmp_path / "eight" / "same.png"), np.rint(scaled).astype(np.uint8))
    save_checkpoint(folder / "none.pth", model)  # remembers no level: 1023 is guessed
    images = {"deep": "dim.png", "none": "dim.png", "cells": "eight/same.png"}
    logits = {}
    for name, image in images.items():
        assert run(tool, trained, tmp_path / image, "--out", tmp_path / name, checkpoint=f"{name}.pth") == 0
        maps = tmp_path / name / read_list(tmp_path / name)["cells"][0]["maps"]
        logits[name] = np.load(maps)["logits"]
    from_level, from_8_bits, from_guess = (logits[name] for name in ("deep", "cells", "none"))
    assert np.abs(from_level - from_8_bits).max() < 0.1 * np.abs(from_level - from_guess).max()


@pytest.mark.parametrize("level", [4095.0, {"brightfield": 4095.0, "dapi": 1023.0}], ids=["number", "by channel"])
def test_tables_and_files_are_read_on_the_same_white_level(tool, trained, tmp_path, level):
    folder, model = trained
    save_checkpoint(folder / "level.pth", model, white_level=level, channel="brightfield")
    with CellSetWriter(tmp_path / "dim") as writer:
        image = np.random.default_rng(0).integers(100, 900, (24, 24)).astype(np.uint16)  # 1023 would be guessed
        origin = dict(group="P1", source="P1.tif", box_xyxy=(0.0, 0.0, 24.0, 24.0))
        row = writer.add(CellRow(cell_id="one", channel="brightfield", label="CTC", **origin), image)
    for name, path in (("table", "dim/cells.csv"), ("file", f"dim/{row.path}")):
        assert run(tool, trained, tmp_path / path, "--out", tmp_path / name, checkpoint="level.pth") == 0
    cells = [read_list(tmp_path / name)["cells"][0] for name in ("table", "file")]
    assert cells[0]["scores"] == cells[1]["scores"]
    save_checkpoint(folder / "guess.pth", model, channel="brightfield")
    assert run(tool, trained, tmp_path / "dim" / row.path, "--out", tmp_path / "guess", checkpoint="guess.pth") == 0
    assert read_list(tmp_path / "guess")["cells"][0]["scores"] != cells[0]["scores"]


def test_the_same_command_gives_the_same_bytes(tool, trained, tmp_path):
    for name in ("first", "second"):
        table = trained[0] / "cells" / "cells.csv"
        assert run(tool, trained, table, "--split", "val", "--out", tmp_path / name) == 0
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) == 2 * 11 + 2
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{cells}/test", "--levels", "0"], "--levels has no meaning here: the config builds a classifier"),
        (["{cells}/test", "--target", "top1"], "--target has no meaning here"),
        (["{cells}/test", "--split", "test"], "--split test chooses among the cells of a table"),
        (["{cells}/test", "--layers", "a", "b"], "--layers takes one module of a classifier; received a, b"),
        (["{cells}/test", "--layers", "layer9"], "no module 'layer9' gives .*backbone.layer1"),
        (["{cells}/test", "--class", "RBC"], "no class 'RBC'; the model knows CTC, WBC"),
        (["{cells}/test", "--score-thr", "best"], "no rule 'best' for the threshold; there are youden"),
        (["{cells}/test", "--score-thr", "wanted_fpr"], "chosen no threshold by the rule 'wanted_fpr'"),
        (["{cells}/nothing.csv"], "nothing.csv: no such table"),
        (["{cells}/cells.csv", "--split", "other"], "no cell is left"),
        (["nowhere.png"], "nowhere.png: no such file or folder"),
    ],
)
def test_failures_name_their_cause_and_end_with_1(tool, trained, tmp_path, capsys, args, message):
    args = [arg.format(cells=trained[0] / "cells") for arg in args]
    assert run(tool, trained, *args, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert all(part in error for part in message.split(".*"))


def test_a_table_needs_a_test_set_that_reads_tables(tool, trained, tmp_path, capsys):
    folder, _ = trained
    config = tmp_path / "other.py"
    config.write_text((folder / "cells.py").read_text() + "\ntest_dataloader['dataset']['type'] = 'CustomDataset'\n")
    args = [str(config), str(folder / "cells.pth"), str(folder / "cells" / "cells.csv"), "--out", str(tmp_path / "out")]
    assert run_cli(tool.main, args) == 1
    assert "the config's test set is a CustomDataset, which reads no table" in capsys.readouterr().err
