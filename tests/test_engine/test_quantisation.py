"""Quantised files: ranges from training images, what stays in float32, and the figures of a test on the files."""

import importlib.util
import logging
import re
from collections import Counter

import numpy as np
import onnx
import openvino
import pytest
import torch
from mmengine.registry import MODELS
from tiny_cells import CONFIG as CELLS
from tiny_cells import draw_cells
from tiny_fields import draw_fields, write_field_config

from ctc_mm.cli import run_cli
from ctc_mm.counting.engines import EngineSettings, build_classifier_engine, build_detector_engine
from ctc_mm.counting.engines.torch_engine import TorchModel
from ctc_mm.engine.export import ExportOptions, export_model, facts_of, graph_of
from ctc_mm.engine.export_files import WRITERS, trace
from ctc_mm.engine.quantisation import _before_layers
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.split_images import images_of_split
from ctc_mm.engine.testing import evaluate
from ctc_mm.errors import CheckpointError, ConfigError

CHW = (3, 64, 64)
POINT = {"kind": "detection", "target": "CTC", "thresholds": {"CTC": 0.4, "WBC": 0.4}, "f1": {"CTC": 0.9, "WBC": 0.9},
         "iou_thr": 0.5, "n_images": 3, "epoch": 1, "iter": 4}  # fmt: skip


def save_weights(config_path, path, meta):
    """Random weights, under which a detector's boxes are its anchors, with scores that differ from place to place."""
    config = load_config(config_path)
    register_all_modules(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "cls_convs" in name and weight.ndim == 4:
                torch.nn.init.normal_(weight, std=0.1)
            elif "reg_convs" in name:
                weight.zero_()
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return {"config": str(config_path), "checkpoint": str(path)}


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Settings of a detector and its fields."""
    root = tmp_path_factory.mktemp("fields")
    # Anchors of the cells' size, and all of them as boxes, so that some hit.
    changes = """
model['bbox_head']['anchor_generator'].update(min_sizes=[12, 20], max_sizes=[20, 38])
model['test_cfg'].update(nms_pre=5000, nms=dict(type='nms', iou_threshold=0.9), max_per_img=5000)
"""
    config = write_field_config(root / "tiny.py", draw_fields(root / "data"), changes)
    meta = {"dataset_meta": {"classes": ("CTC", "WBC"), "image_wh": (96, 64)}, "ctc_operating_point": POINT}
    return save_weights(config, root / "tiny.pth", meta)


@pytest.fixture(scope="module")
def files(fields, tmp_path_factory):
    """One trace in both formats, in float32 and int8."""
    folder = tmp_path_factory.mktemp("files")
    loaded = TorchModel(EngineSettings(**fields))
    graph, outputs, rules = graph_of(loaded, ExportOptions())
    program = trace(graph, outputs, loaded.info.input_chw)
    paths = {}
    for name, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        for images in (None, images_of_split(loaded.config, "train", 6, CHW)):
            precision = "float32" if images is None else "int8"
            path = paths[name, precision] = folder / f"{precision}{suffix}"
            options = ExportOptions(int8=images is not None)
            WRITERS[name](program, images).write(facts_of(loaded, name, options, rules, images), path)
    return paths


def test_what_leads_to_a_layer_is_quantised():
    nodes = [("a", "x"), ("conv", "a"), ("b", "conv"), ("c", "b", "a"), ("conv2", "b"), ("d", "conv2", "c")]
    kept = _before_layers(nodes, lambda one: one[1:], lambda one: one[:1], lambda one: one[0].startswith("conv"))
    assert kept == [True, True, True, False, True, False]
    assert _before_layers([], len, len, bool) == []


def test_layers_are_quantised_and_decoding_is_not(files):
    plain, quantised = (onnx.load(files["onnx", precision]).graph for precision in ("float32", "int8"))
    makers = {name: node.op_type for node in quantised.node for name in node.output}
    layers = [node for node in quantised.node if node.op_type == "Conv"]
    assert len(layers) == Counter(node.op_type for node in plain.node)["Conv"]
    assert {makers[name] for node in layers for name in node.input[:2]} == {"DequantizeLinear"}
    (boxes,) = (node for node in quantised.node if "boxes_xyxy" in node.output)
    waiting, seen = list(boxes.input), []
    while waiting:  # back from the boxes to the nearest layers
        node = next((one for one in quantised.node if waiting[-1] in one.output), None)
        del waiting[-1]
        if node is not None and node.op_type != "Conv" and node not in seen:
            seen.append(node)
            waiting += node.input
    assert {"Exp", "Mul"} <= {node.op_type for node in seen}
    assert {makers[node.input[0]] for node in seen if node.op_type == "QuantizeLinear"} <= {"Conv"}
    operations = [one.get_type_name() for one in openvino.Core().read_model(files["openvino", "int8"]).get_ops()]
    assert Counter(operations)["FakeQuantize"] >= len(layers)


def test_check_takes_images_of_the_set_that_was_asked_for(fields, tmp_path):
    changes = {"val_dataloader.dataset.indices": 3}
    settings, path = EngineSettings(**fields, cfg_options=changes), tmp_path / "a.onnx"
    report = export_model(settings, "onnx", path, ExportOptions(check_images="val"))
    assert (report.checked_on, report.check["images"]) == ("val", 3)
    assert "against PyTorch, on val images: images 3, " in report.summary()
    assert build_detector_engine({"model": str(path)}).facts.checked_on == "val"
    with pytest.raises(ConfigError, match="images of its val set are asked for, and the config names none"):
        export_model(
            EngineSettings(**fields, cfg_options={"val_dataloader": None}),
            "onnx",
            tmp_path / "b.onnx",
            ExportOptions(check_images="val"),
        )


def test_test_of_a_file_gives_the_figures_of_its_weights(files, fields, tmp_path):
    config = load_config(fields["config"])
    expected = evaluate(config, fields["checkpoint"], tmp_path / "pth", speed_images=0)
    assert 0 < expected["ctc/mAP50"] < 1
    for (name, precision), path in files.items():
        found = evaluate(config, path, tmp_path / f"{name}_{precision}", speed_images=0)
        assert found.keys() == expected.keys()
        for figure, value in found.items():
            difference = 1e-4 if precision == "float32" else 0.25
            np.testing.assert_allclose(value, expected[figure], atol=difference, err_msg=f"{figure} of {path.name}")
        assert (tmp_path / f"{name}_{precision}" / "metrics.json").is_file()


def test_file_says_that_it_is_quantised(files):
    exact, coarse = (build_detector_engine({"model": str(files["onnx", one])}) for one in ("float32", "int8"))
    assert coarse.facts.calibration == {"images": 6, "split": "train"}
    assert exact.model().get("precision") is None
    assert coarse.model()["precision"] == "int8"


def test_file_of_other_classes_is_refused(files, fields, tmp_path):
    config = load_config(fields["config"])
    config.test_dataloader.dataset.metainfo.classes = ("RBC", "WBC")
    with pytest.raises(CheckpointError, match=r"float32\.onnx: trained for the classes \['CTC', 'WBC'\]"):
        evaluate(config, files["onnx", "float32"], tmp_path)


def test_file_of_other_windows_is_refused(files, fields, tmp_path):
    config = load_config(fields["config"])
    config.test_dataloader.dataset.pipeline[1].scale = (32, 32)
    with pytest.raises(CheckpointError, match=r"takes images of \(3, 64, 64\).* test images are \[\(3, 32, 32\)\]"):
        evaluate(config, files["onnx", "float32"], tmp_path, speed_images=0)


def test_command_line_quantises_a_classifier_and_says_what_it_costs(tmp_path, repo, capsys):
    resize = "load = dict(type='ctc_mm.LoadCellImage')"
    text = CELLS.format(root=str(draw_cells(tmp_path / "cells")))
    text = text.replace(
        "test_pipeline = [load, pack]", "test_pipeline = [load, dict(type='Resize', scale=(32, 32)), pack]"
    )
    assert resize in text
    (tmp_path / "cells.py").write_text(text)
    meta = {"dataset_meta": {"classes": ("CTC", "WBC"), "target": "CTC"}}
    settings = save_weights(tmp_path / "cells.py", tmp_path / "cells.pth", meta)
    spec = importlib.util.spec_from_file_location("export_tool", repo / "tools" / "export.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out = tmp_path / "cells.xml"
    arguments = [*settings.values(), "--format", "openvino", "--out", str(out), "--int8", "--calibration", "5"]
    assert run_cli(tool.main, [*arguments, "--check-ap", "test"]) == 0
    said = capsys.readouterr().out
    assert "classifier cells in int8 (CTC, WBC)" in said
    assert re.search(r"^ +file +PyTorch$", said, re.MULTILINE)
    assert re.search(r"^ctc/threshold@youden +[01]\.\d{4} +[01]\.\d{4}$", said, re.MULTILINE)
    assert "Statistics collection" not in said  # progress is not a result
    engine = build_classifier_engine({"model": str(out), "batch_size": 2})
    assert engine.facts.calibration == {"images": 5, "split": "train"}
    scores = engine(np.stack([np.full((3, 32, 32), 90, np.float32)] * 2))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_classifier_has_no_boxes_to_select(tmp_path):
    text = CELLS.format(root=str(draw_cells(tmp_path / "cells"))).replace(
        "[load, pack]", "[load, dict(type='Resize', scale=32), pack]"
    )
    (tmp_path / "cells.py").write_text(text)
    settings = save_weights(tmp_path / "cells.py", tmp_path / "cells.pth", {})
    with pytest.raises(ConfigError, match="cells: a classifier has no boxes; --nms inside is for detectors"):
        export_model(EngineSettings(**settings), "onnx", tmp_path / "a.onnx", ExportOptions(nms="inside"))


def test_quantising_leaves_logging_as_it_was(files):
    loggers = [logging.getLogger(), logging.getLogger("nncf")]
    assert all(logger.level < logging.ERROR for logger in loggers)
    assert all(handler.level < logging.ERROR for logger in loggers for handler in logger.handlers)
