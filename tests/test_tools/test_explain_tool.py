"""tools/explain.py on a small SSD: files, contents, exit codes."""

import importlib.util
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader

import ctc_mm.models  # noqa: F401
from ctc_mm.cli import run_cli

CONFIG = """
default_scope = 'mmdet'
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
    backbone=dict(type='ResNet', depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
    neck=dict(type='FPN', in_channels=[64, 128], out_channels=16, num_outs=2),
    bbox_head=dict(
        type='ctc_mm.CTCSSDHead', num_classes=2, in_channels=(16, 16),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[4, 8], ratios=[[2], [2]],
            min_sizes=[16, 40], max_sizes=[40, 76]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])),
    test_cfg=dict(nms_pre=200, score_thr=0.02, nms=dict(type='nms', iou_threshold=0.45), max_per_img=20))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackDetInputs')]))
"""


@pytest.fixture(scope="module")
def tool(repo):
    spec = importlib.util.spec_from_file_location("explain_tool", repo / "tools" / "explain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _checkpoint_policy_restored(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    schemes = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes = schemes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config, its checkpoint and a folder of two images, one of them with 16 bits."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "ssd.py").write_text(CONFIG)
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(Config.fromstring(CONFIG, ".py").model)
    for parameter in model.bbox_head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    point = dict(target="CTC", thresholds={"CTC": 0.4, "WBC": None}, f1={"CTC": 0.9, "WBC": None})
    meta = dict(dataset_meta=dict(classes=("CTC", "WBC")), ctc_operating_point=dict(point, iou_thr=0.5, n_images=3))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / "ssd.pth")
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "a.png"), random.integers(0, 256, (80, 120, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "images" / "b.tif"), random.integers(0, 4096, (100, 90), dtype=np.uint16))
    return folder


def run(tool, folder, *args):
    return run_cli(tool.main, [str(folder / "ssd.py"), str(folder / "ssd.pth"), *map(str, args)])


def test_pictures_maps_and_list_are_written(tool, trained, tmp_path, capsys):
    assert run(tool, trained, trained / "images", "--out", tmp_path) == 0
    assert "2 images explained, 0 of them without a box" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.png", "a_levels.png", "a.npz", "b.png", "b_levels.png", "b.npz", "explain.json"}
    summary = json.loads((tmp_path / "explain.json").read_text())
    assert summary["score_thr"] == [0.4, 0.5]
    for entry, shape in zip(summary["images"], [(80, 120), (100, 90)], strict=True):
        maps = np.load(tmp_path / entry["maps"])
        assert maps["fused"].shape == shape
        assert maps["levels"].shape == (2, *shape)
        assert maps["fused"].dtype == maps["levels"].dtype == maps["boxes_xyxy"].dtype == np.float32
        assert maps["weights"].tolist() == [2, 1]
        np.testing.assert_allclose(maps["fused"], (2 * maps["levels"][0] + maps["levels"][1]) / 3, atol=1e-6)
        assert maps["fused"].max() > 0
        assert entry["boxes_kept"] == entry["boxes_explained"] == len(maps["scores"]) > 0
        assert (maps["scores"] >= np.where(maps["labels"] == 0, 0.4, 0.5)).all()
        boxes = maps["boxes_xyxy"]
        assert (boxes[:, 2] <= shape[1] + 1e-3).all()
        assert (boxes[:, 3] <= shape[0] + 1e-3).all()
        assert boxes[:, 3].max() > 64  # pixels of the original image, not of the network's 64x64


def test_same_command_gives_the_same_bytes(tool, trained, tmp_path):
    for name in ("first", "second"):
        assert run(tool, trained, trained / "images" / "a.png", "--out", tmp_path / name) == 0
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(files) == 4
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_options_reach_the_explanation(tool, trained, tmp_path):
    options = ["--score-thr", "0.2", "--target", "top1", "--class", "WBC", "--levels", "1", "--against-background"]
    options += ["--layers", "backbone.layer1", "backbone.layer2"]
    assert run(tool, trained, trained / "images" / "a.png", *options, "--out", tmp_path) == 0
    maps = np.load(tmp_path / "a.npz")
    assert maps["level_ids"].tolist() == [1]
    assert maps["labels"][maps["explained"]].tolist() == [1]
    assert maps["scores"].min() >= 0.2
    assert set(maps["labels"].tolist()) == {0, 1}


def test_no_kept_box_is_no_failure(tool, trained, tmp_path, capsys):
    assert run(tool, trained, trained / "images", "--score-thr", "1.5", "--out", tmp_path) == 0
    assert "2 of them without a box" in capsys.readouterr().out
    maps = np.load(tmp_path / "a.npz")
    assert not maps["fused"].any()
    assert maps["boxes_xyxy"].shape == (0, 4)
    assert cv2.imread(str(tmp_path / "a_levels.png")) is not None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["{images}", "--class", "RBC"], "no class 'RBC'; the model knows CTC, WBC"),
        (["{images}", "--levels", "7"], "different numbers from 0 to 1"),
        (["{images}", "--target", "99"], "a.png: `target` is box 99"),
        (["{images}", "--device", "gpu"], "device 'gpu' cannot be used here"),
    ],
)
def test_failures_name_their_cause_and_end_with_1(tool, trained, tmp_path, capsys, args, message):
    args = [arg.format(images=trained / "images") for arg in args]
    assert run(tool, trained, *args, "--out", tmp_path) == 1
    assert message in capsys.readouterr().err


def test_damaged_image_is_named(tool, trained, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes((trained / "images" / "a.png").read_bytes()[:200])
    assert run(tool, trained, bad, "--out", tmp_path / "out") == 1
    assert "bad.png" in capsys.readouterr().err


def test_weights_of_another_model_are_refused(tool, trained, tmp_path, capsys):
    torch.save(dict(state_dict={"backbone.conv1.weight": torch.zeros(1)}), tmp_path / "other.pth")
    args = [str(trained / "ssd.py"), str(tmp_path / "other.pth"), str(trained / "images"), "--out", str(tmp_path)]
    assert run_cli(tool.main, args) == 1
    error = capsys.readouterr().err
    assert "other.pth: its weights do not fit the config" in error


@pytest.mark.parametrize("target", ["best", "-1", "1.5"])
def test_bad_usage_ends_with_2(tool, trained, tmp_path, target):
    with pytest.raises(SystemExit) as stopped:
        run(tool, trained, trained / "images", f"--target={target}", "--out", tmp_path)
    assert stopped.value.code == 2


def test_command_line_itself(repo, trained, tmp_path):
    arguments = [trained / "ssd.py", trained / "ssd.pth", trained / "images" / "b.tif", "--out", tmp_path / "out"]
    command = [sys.executable, repo / "tools" / "explain.py", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Grad-CAM" in done.stderr
    assert (tmp_path / "out" / "b.npz").is_file()


def test_help_has_an_example(tool, capsys):
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--help"])
    assert stopped.value.code == 0
    assert "example: python tools/explain.py" in capsys.readouterr().out
