"""tools/export.py's files in ONNX Runtime and OpenVINO against PyTorch, and files that are none."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_engines import draw_windows, prepared, write_detector

from ctc_mm.cli import run_cli
from ctc_mm.counting.engines import EngineSettings, WindowDetections, build_classifier_engine, build_detector_engine
from ctc_mm.counting.engines.exported import ExportedDetector
from ctc_mm.counting.engines.torch_engine import TorchModel
from ctc_mm.engine.export import export_model
from ctc_mm.engine.export_check import compare_with_torch, count_unmatched, iou_of_pairs
from ctc_mm.errors import CheckpointError, ConfigError, EngineError, InstallationError

SCORES_AND_LABELS = (np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0]))
RUNS = [("onnx", "onnxruntime"), ("openvino", "openvino"), ("onnx", "openvino")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def detectors(detector_files, folder):
    """Reports of the detector's export, by format."""
    files = {"onnx": folder / "detector.onnx", "openvino": folder / "detector.xml"}
    return {name: export_model(EngineSettings(**detector_files), name, path) for name, path in files.items()}


@pytest.fixture(scope="module")
def classifier_path(classifier_files, folder):
    return export_model(EngineSettings(**classifier_files), "onnx", folder / "sub" / "classifier.onnx").paths[0]


def model_of(detectors, format_name):
    return str(next(path for path in detectors[format_name].paths if path.suffix != ".bin"))


def test_iou_of_pairs():
    one = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 5, 5], [0, 0, 1, 1]], np.float32)
    other = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 5, 5], [4, 4, 5, 5]], np.float32)
    np.testing.assert_allclose(iou_of_pairs(one, other), [1, 1 / 3, 1, 0])
    assert iou_of_pairs(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


def test_boxes_of_next_to_no_width_agree_to_rounding_and_not_beyond():
    thin = np.array([[3, 0, 3 + 1e-5, 9]])
    other = np.vstack([thin + [2e-5, 0, 2e-5, 0], thin + [0.01, 0, 0.01, 0]])
    np.testing.assert_allclose(iou_of_pairs(np.vstack([thin, thin]), other), [1, 0])


def test_unmatched_boxes_are_counted():
    one = WindowDetections(np.array([[0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 30, 9]], np.float32), *SCORES_AND_LABELS)
    moved = one._replace(boxes_xyxy=one.boxes_xyxy + np.array([[0], [0], [1]], np.float32))
    assert count_unmatched(one, one) == 0
    assert count_unmatched(one, moved) == 1
    assert count_unmatched(one, one._replace(labels=np.array([0, 0, 0]))) == 1
    assert count_unmatched(one, one._replace(scores=one.scores + np.float32(0.002))) == 3
    nothing = WindowDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert (count_unmatched(one, nothing), count_unmatched(nothing, one)) == (3, 0)


@pytest.mark.parametrize(("format_name", "engine"), RUNS)
def test_boxes_agree_with_pytorch(detectors, detector_files, format_name, engine):
    ours = build_detector_engine({**detector_files, "batch_size": 3})
    theirs = build_detector_engine({"model": model_of(detectors, format_name), "engine": engine, "batch_size": 3})
    batch = prepared(ours, draw_windows(3))
    np.testing.assert_array_equal(prepared(theirs, draw_windows(3)), batch)
    for expected, found in zip(ours(batch), theirs(batch), strict=True):
        # Box by box at an IoU of 0.99 and scores to 1e-3; near ties may change places in the list.
        assert len(found.scores) == len(expected.scores) > 3
        assert count_unmatched(found, expected) == count_unmatched(expected, found) == 0
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_boxes_that_no_count_looks_at_are_left_out(detectors, detector_files, engine):
    model = detector_files if engine == "torch" else {"model": model_of(detectors, "onnx")}
    every, some = (build_detector_engine({**model, "doubt": doubt}) for doubt in (None, 1.0))
    batch = prepared(every, draw_windows(3))
    for all_of_it, found in zip(every(batch), some(batch), strict=True):
        kept = all_of_it.scores >= 0.4  # the lower one of the thresholds 0.4 and 0.5
        assert 0 < kept.sum() < len(kept)
        for ours, theirs in zip(found, all_of_it, strict=True):
            np.testing.assert_array_equal(ours, theirs[kept])


@pytest.mark.parametrize(("format_name", "engine"), RUNS[:2])
def test_scores_do_not_depend_on_batch_size_or_company(detectors, format_name, engine):
    settings = {"model": model_of(detectors, format_name), "engine": engine, "threads": 1}
    one, five = (build_detector_engine({**settings, "batch_size": size}) for size in (1, 5))
    batch = prepared(one, draw_windows(3))
    together = five(batch)
    for place in range(3):
        (alone,) = five(batch[place : place + 1])
        (single,) = one(batch[place : place + 1])
        np.testing.assert_array_equal(alone.scores, together[place].scores)
        np.testing.assert_array_equal(alone.boxes_xyxy, together[place].boxes_xyxy)
        np.testing.assert_allclose(single.scores, together[place].scores, atol=1e-5)


def test_facts_are_those_of_the_checkpoint(detectors, detector_files):
    info = build_detector_engine(detector_files).info
    assert info.max_per_img == 1000
    for name in ("onnx", "openvino"):
        found = build_detector_engine({"model": model_of(detectors, name)}).info
        assert len(found.hashes["model"]) == 64
        assert replace(found, hashes=info.hashes) == info


def test_report_says_how_far_the_file_is_from_pytorch(detectors):
    check = detectors["onnx"].check
    assert 0 <= check["score_difference"] < 1e-4
    assert check["least_iou"] > 0.999
    assert check["boxes"] > 10
    assert check["unmatched"] == 0
    summary = detectors["onnx"].summary()
    assert "detector tiny_detector (CTC, WBC): 0." in summary
    assert f"images 4, score_difference {check['score_difference']:.3g}, least_iou" in summary
    assert [path.suffix for path in detectors["openvino"].paths] == [".bin", ".xml"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_probabilities_agree_with_pytorch(classifier_path, classifier_files, engine):
    ours = build_classifier_engine({**classifier_files, "batch_size": 3})
    theirs = build_classifier_engine({"model": str(classifier_path), "engine": engine, "batch_size": 3})
    cells = [draw_windows(1, side, seed=side)[0] for side in (20, 31)]
    np.testing.assert_allclose(theirs(prepared(theirs, cells)), ours(prepared(ours, cells)), atol=1e-5)
    assert theirs.info.temperature == 2.0
    assert theirs.prepare(np.full((20, 20), 4095, np.uint16)).max() == 255


def test_command_line_writes_the_same_bytes(detectors, detector_files, folder, repo, capsys):
    spec = importlib.util.spec_from_file_location("export_tool", repo / "tools" / "export.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = [*detector_files.values(), "--format", "onnx", "--out", str(folder / "again.onnx")]
    assert run_cli(tool.main, arguments) == 0
    assert "detector tiny_detector (CTC, WBC)" in capsys.readouterr().out
    first = detectors["onnx"].paths[0].read_bytes()
    assert (folder / "again.onnx").read_bytes() == first
    assert str(folder).encode() not in first


def test_model_that_differs_from_pytorch_is_found_out(detectors, tmp_path):
    other = TorchModel(EngineSettings(**write_detector(tmp_path, seed=1)))
    with pytest.raises(EngineError, match="tiny_detector: the exported model differs from PyTorch"):
        compare_with_torch(other, detectors["onnx"].paths[0], "onnxruntime")


def test_window_that_the_file_cannot_take_is_refused(detectors):
    path = model_of(detectors, "onnx")
    assert build_detector_engine({"model": path, "window_px": 96}).info.window_wh == (96, 96)
    facts = json.loads(ExportedDetector.load(EngineSettings(model=path)).facts.to_text())
    next(step for step in facts["steps"] if step["type"] == "Resize")["scale"] = [32, 40]
    with pytest.raises(
        ConfigError, match=r"takes images of \(3, 64, 64\).* windows of \(48, 48\) px become \(3, 40, 32\)"
    ):
        build_detector_engine({"model": with_facts(path, facts, "resized.onnx")})


def with_facts(path, content, name):
    """A copy of an ONNX file with other facts; None: without."""
    model = onnx.load(path)
    del model.metadata_props[:]
    if content is not None:
        onnx.helper.set_model_props(model, {"ctc_mm": content if isinstance(content, str) else json.dumps(content)})
    changed = f"{path.rpartition('/')[0]}/{name}"
    onnx.save(model, changed)
    return changed


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_models_made_elsewhere_are_refused(detectors, engine):
    path = with_facts(model_of(detectors, "onnx"), None, "foreign.onnx")
    with pytest.raises(CheckpointError, match=r"foreign\.onnx: says nothing of its classes .* tools/export\.py"):
        build_detector_engine({"model": path, "engine": engine})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no json", "facts cannot be read"),
        ({"format": 99}, "format 99, this version reads 1 and 2"),
        ({"info": {"kind": "detector"}}, r"missing ones \['classes', 'name'\]"),
        ({"steps": None}, "facts cannot be read"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(detectors, change, message):
    path = model_of(detectors, "onnx")
    facts = json.loads(ExportedDetector.load(EngineSettings(model=path)).facts.to_text())
    changed = change if isinstance(change, str) else {**facts, **change}
    with pytest.raises(CheckpointError, match=message):
        build_detector_engine({"model": with_facts(path, changed, "changed.onnx")})


def test_steps_in_a_file_run_no_code(detectors, tmp_path):
    path = model_of(detectors, "onnx")
    facts = json.loads(ExportedDetector.load(EngineSettings(model=path)).facts.to_text())
    facts["steps"].insert(1, {"type": "pathlib.Path.touch", "self": str(tmp_path / "touched")})
    with pytest.raises(ConfigError, match=r"'pathlib.Path.touch' is no transform"):
        build_detector_engine({"model": with_facts(path, facts, "evil.onnx")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "engine"), [(".onnx", "ONNX"), (".xml", "OpenVINO")])
@pytest.mark.parametrize("content", [b"", b"no model", None], ids=["empty", "text", "cut"])
def test_unreadable_files_are_named(detectors, tmp_path, suffix, engine, content):
    good = model_of(detectors, "onnx" if suffix == ".onnx" else "openvino")
    bad = tmp_path / f"bad{suffix}"
    whole = Path(good).read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(CheckpointError, match=rf"bad\{suffix}: cannot be read as a model of {engine}"):
        build_detector_engine({"model": str(bad)})


def test_weights_that_were_left_behind_are_missed(detectors, tmp_path):
    alone = shutil.copy(model_of(detectors, "openvino"), tmp_path / "alone.xml")
    with pytest.raises(CheckpointError, match="with its .bin beside it"):
        build_detector_engine({"model": str(alone)})


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": "no.onnx"}, CheckpointError, "no.onnx: no such file"),
        ({"engine": "onnxruntime", "format": "openvino"}, CheckpointError, "give --engine openvino"),
        ({"device": "rocket"}, EngineError, "no ROCKETExecutionProvider"),
        ({"device": "rocket", "engine": "openvino"}, EngineError, "OpenVINO finds CPU"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused(detectors, settings, error, message):
    settings = {"model": model_of(detectors, settings.get("format", "onnx"))} | settings
    with pytest.raises(error, match=message):
        build_detector_engine(settings)


def test_files_of_the_other_kind_are_refused(detectors, classifier_path):
    with pytest.raises(ConfigError, match="holds a classifier, where a detector is needed"):
        build_detector_engine({"model": str(classifier_path)})
    with pytest.raises(ConfigError, match="holds a detector, where a classifier is needed"):
        build_classifier_engine({"model": model_of(detectors, "onnx")})


def test_engine_that_is_not_installed_is_named(detectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InstallationError, match="engine onnxruntime needs the package onnxruntime: pip install"):
        build_detector_engine({"model": model_of(detectors, "onnx")})


def test_lack_of_memory_is_explained(detectors, monkeypatch):
    engine = build_detector_engine({"model": model_of(detectors, "onnx"), "batch_size": 2})

    class Full:
        def run(self, names, inputs):
            raise RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(engine._session, "_session", Full())
    with pytest.raises(EngineError, match=r"detector\.onnx: no memory on cpu for 2 images at once"):
        engine(np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_what_runs_a_model_is_part_of_what_an_engine_says_of_it(detectors, classifier_path, kind):
    build, path = {
        "detector": (build_detector_engine, model_of(detectors, "onnx")),
        "classifier": (build_classifier_engine, str(classifier_path)),
    }[kind]
    ran = [build({"model": path, "engine": engine}).model() for engine in ("onnxruntime", "openvino")]
    assert [(one.pop("engine"), one.pop("device")) for one in ran] == [("onnxruntime", "cpu"), ("openvino", "cpu")]
    assert ran[0] == ran[1]
