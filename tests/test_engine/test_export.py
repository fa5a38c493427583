"""Exporting: what is refused before the long part, the check against PyTorch, and the command line."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "test_counting" / "test_engines"))

from tiny_engines import CLASSIFIER, DETECTOR, write_classifier, write_detector

from ctc_mm.cli import run_cli
from ctc_mm.counting.engines import EngineSettings
from ctc_mm.engine import export as export_module
from ctc_mm.engine import export_check, export_files
from ctc_mm.engine.export import ExportOptions, export_model
from ctc_mm.errors import CheckpointError, ConfigError, InstallationError


@pytest.fixture
def tool(repo):
    spec = importlib.util.spec_from_file_location("export_tool", repo / "tools" / "export.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("format_name", "out", "message"),
    [
        ("tensorrt", "a.engine", "format must be onnx or openvino. Received: 'tensorrt'"),
        ("onnx", "a.xml", r"--out of format onnx must end in .onnx. Received: a\.xml"),
        ("openvino", "a.bin", "must end in .xml"),
    ],
)
def test_wrong_format_is_refused_before_anything_is_read(format_name, out, message):
    with pytest.raises(ConfigError, match=message):
        export_model(EngineSettings(config="none.py", checkpoint="none.pth"), format_name, out)


def test_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, where a file is to be written"):
        export_model(EngineSettings(config="none.py", checkpoint="none.pth"), "onnx", tmp_path / "a.onnx")


def test_calibration_images_are_for_whole_numbers_alone(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(["a.py", "a.pth", "--format", "onnx", "--out", "a.onnx", "--calibration", "5"])
    assert "--calibration goes with --int8" in capsys.readouterr().err


def test_missing_packages_are_named_all_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("on") else object())
    with pytest.raises(InstallationError, match="needs onnx, onnxscript, onnxruntime: pip install onnx onnxscript"):
        export_model(EngineSettings(config="none.py", checkpoint="none.pth"), "onnx", tmp_path / "a.onnx")


def test_cells_of_any_size_cannot_be_exported_without_one(tmp_path):
    text = CLASSIFIER.replace("dict(type='Resize', scale=(24, 24)), ", "")
    files = write_classifier(tmp_path, text)
    with pytest.raises(ConfigError, match=r"tiny_classifier\.py: its test pipeline leaves cells as large as they are"):
        export_model(EngineSettings(**files), "onnx", tmp_path / "a.onnx")


def test_head_that_cannot_be_exported_is_named(tmp_path):
    text = CLASSIFIER.replace("type='LinearClsHead'", "type='MultiLabelLinearClsHead'")
    files = write_classifier(tmp_path, text)
    with pytest.raises(ConfigError, match="ImageClassifier with MultiLabelLinearClsHead cannot be exported"):
        export_model(EngineSettings(**files), "onnx", tmp_path / "a.onnx")


def test_file_that_fails_its_check_is_not_left(tmp_path, monkeypatch):
    class Writer:
        """Writes a file that is no model."""

        def __init__(self, program, images):
            pass

        def write(self, facts, path):
            path.write_bytes(b"no model")

    monkeypatch.setattr(export_module, "trace", lambda *arguments: None)
    monkeypatch.setitem(export_files.WRITERS, "onnx", Writer)
    out = tmp_path / "out" / "a.onnx"
    with pytest.raises(CheckpointError, match="cannot be read as a model of ONNX"):
        export_model(EngineSettings(**write_detector(tmp_path)), "onnx", out)
    assert list(out.parent.iterdir()) == []


def test_drawn_images_are_the_same_each_time():
    one, other = (export_check.drawn_images((3, 40, 60)) for _ in range(2))
    assert one.shape == (4, 3, 40, 60)
    assert (one == other).all()
    assert 0 <= one.min() < 80 < 200 < one.max() <= 255


def test_command_line_hands_on_what_it_was_given(tool, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(export_module, "export_model", lambda *arguments: given.append(arguments) or Said())
    arguments = ["a.py", "a.pth", "--format", "openvino", "--out", "a.xml", "--window-px", "40", "50"]
    arguments += ["--nms", "inside", "--int8", "--calibration", "7", "--check-ap", "val", "--check-images", "test"]
    assert run_cli(tool.main, [*arguments, "--cfg-options", "model.test_cfg.score_thr=0.2"]) == 0
    options = {"model.test_cfg.score_thr": 0.2}
    settings = EngineSettings(config="a.py", checkpoint="a.pth", window_px=[40, 50], cfg_options=options)
    assert given == [(settings, "openvino", "a.xml", ExportOptions("inside", True, 7, "val", "test"))]
    assert capsys.readouterr().out == "written\n"


class Said:
    def summary(self):
        return "written"


def test_command_line_ends_with_1_and_names_the_file(tool, tmp_path, capsys):
    config = tmp_path / "a.py"
    config.write_text(DETECTOR)
    arguments = [str(config), str(tmp_path / "no.pth"), "--format", "onnx", "--out", str(tmp_path / "a.onnx")]
    assert run_cli(tool.main, arguments) == 1
    assert "no.pth: no such file" in capsys.readouterr().err
