"""Files that select boxes themselves, in both engines, against PyTorch's own prediction."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from tiny_engines import draw_windows, prepared

from ctc_mm.counting.engines import EngineSettings, build_detector_engine
from ctc_mm.counting.engines.model_file import FACTS_KEY, ModelFacts
from ctc_mm.counting.engines.torch_engine import TorchModel
from ctc_mm.engine.export import ExportOptions, facts_of, graph_of
from ctc_mm.engine.export_check import compare_with_torch, count_unmatched
from ctc_mm.engine.export_files import WRITERS, trace
from ctc_mm.errors import ConfigError, EngineError

RUNS = [("onnx", "onnxruntime"), ("openvino", "openvino"), ("onnx", "openvino")]
INSIDE = ExportOptions(nms="inside")


@pytest.fixture(scope="module")
def loaded(detector_files):
    return TorchModel(EngineSettings(**detector_files))


@pytest.fixture(scope="module")
def files(loaded, tmp_path_factory):
    """One trace as both formats."""
    folder = tmp_path_factory.mktemp("inside")
    graph, outputs, rules = graph_of(loaded, INSIDE)
    program = trace(graph, outputs, loaded.info.input_chw)
    paths = {"onnx": folder / "a.onnx", "openvino": folder / "a.xml"}
    for name, path in paths.items():
        WRITERS[name](program, None).write(facts_of(loaded, name, INSIDE, rules, None), path)
    return paths


@pytest.mark.parametrize(("format_name", "engine"), RUNS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_boxes_are_those_of_pytorch(files, detector_files, format_name, engine, batch_size):
    ours = build_detector_engine({**detector_files, "batch_size": 3})
    theirs = build_detector_engine({"model": str(files[format_name]), "engine": engine, "batch_size": batch_size})
    batch = prepared(ours, draw_windows(3))
    expected = ours(batch)
    found = [one for start in range(0, 3, batch_size) for one in theirs(batch[start : start + batch_size])]
    for one, other in zip(found, expected, strict=True):
        assert len(one.scores) == len(other.scores) > 3
        assert (np.diff(one.scores) <= 0).all()
        assert count_unmatched(one, other) == count_unmatched(other, one) == 0


def test_check_finds_what_differs(files, loaded):
    found = compare_with_torch(loaded, files["onnx"], "onnxruntime")
    assert found["boxes"] > 100
    assert found["unmatched"] == 0
    assert found["score_difference"] < 1e-5
    assert found["least_iou"] > 0.999
    # The same file, held against a model that leaves more boxes out.
    rules = loaded.trained.model.bbox_head.test_cfg
    before = rules.nms.iou_threshold
    rules.nms.iou_threshold = 0.05
    try:
        with pytest.raises(EngineError, match="the exported model differs from PyTorch"):
            compare_with_torch(loaded, files["onnx"], "onnxruntime")
    finally:
        rules.nms.iou_threshold = before


def test_boxes_that_no_count_looks_at_are_left_out(files):
    every, some = (build_detector_engine({"model": str(files["onnx"]), "doubt": doubt}) for doubt in (None, 1.0))
    batch = prepared(every, draw_windows(3))
    for all_of_it, found in zip(every(batch), some(batch), strict=True):
        kept = all_of_it.scores >= 0.4  # the lower one of the thresholds 0.4 and 0.5
        assert 0 < kept.sum() < len(kept)
        for ours, theirs in zip(found, all_of_it, strict=True):
            np.testing.assert_array_equal(ours, theirs[kept])


def test_another_program_reads_boxes_without_this_project(files):
    session = onnxruntime.InferenceSession(str(files["onnx"]))
    scores, labels, boxes = session.run(None, {"images": np.full((2, 3, 64, 64), 90, np.float32)})
    assert [one.name for one in session.get_outputs()] == ["selected_scores", "selected_labels", "selected_boxes_xyxy"]
    assert (scores.shape, labels.shape, boxes.shape) == ((2, 1000), (2, 1000), (2, 1000, 4))
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(scores > 0, labels >= 0)
    kept = scores > 0
    assert 0 < kept.sum() < kept.size
    assert scores[kept].min() > 0.35
    assert 0 <= boxes[kept].min() < boxes[kept].max() <= 64


@pytest.mark.parametrize("window_px", [[96, 96], [40, 48]])
def test_windows_whose_boxes_the_file_would_cut_otherwise_are_refused(files, window_px):
    # The smallest box is 2 px of the window, which other windows show at another scale.
    with pytest.raises(ConfigError, match=r"selects boxes in windows of 48 x 48 px\. Received: \d+ x \d+ px"):
        build_detector_engine({"model": str(files["onnx"]), "window_px": window_px})


def test_facts_say_what_is_inside_and_older_ones_are_read(files):
    text = onnxruntime.InferenceSession(str(files["onnx"])).get_modelmeta().custom_metadata_map[FACTS_KEY]
    facts = ModelFacts.from_text(text, "a.onnx")
    assert (facts.nms, facts.precision, facts.calibration) == ("inside", "float32", {})
    first = {key: value for key, value in json.loads(text).items() if key not in ("nms", "precision", "calibration")}
    assert ModelFacts.from_text(json.dumps(first | {"format": 1}), "a.onnx") == replace(facts, nms="outside")


@pytest.mark.parametrize(
    "options", [{"nms": "beside"}, {"check_ap": "train"}, {"calibration_images": 0}, {"check_images": "mine"}]
)
def test_options_that_are_none_are_refused(options):
    with pytest.raises(
        ConfigError, match=f"{next(iter(options))} must be .*Received: {next(iter(options.values()))!r}"
    ):
        ExportOptions(**options)
