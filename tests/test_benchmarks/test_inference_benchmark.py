"""The benchmark of ways to run a network: its table, its differences, and a run of the three ways that PyTorch has."""

import importlib
import sys

import numpy as np
import pytest
import torch


@pytest.fixture
def inference(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("inference")
    for name in {"common", "engines", "inference"} - before:
        sys.modules.pop(name, None)


def test_ways_are_compared_with_eager_round_by_round(inference):
    """The machine is ten times slower in round 2."""
    times = {"eager": [1.0, 10.0, 2.0], "onnxruntime int8": [0.25, 2.5, 0.4]}
    found = inference.Measured(
        "ssd",
        2,
        wall_s={way: [2 * one for one in values] for way, values in times.items()},
        processor_s=times,
        score_difference={"eager": 0.0, "onnxruntime int8": 0.031},
        least_iou={"eager": 1.0, "onnxruntime int8": 0.91234},
        not_run={"torch.compile": "no compiler"},
    )
    assert inference.rows_of(found, by_processor=True) == [
        ("ssd", "2", "eager", "1.000 (1.000-1.000)", "1.00 x", "1.00", "", ""),
        ("ssd", "2", "torch.compile", "not run: no compiler", "", "", "", ""),
        ("ssd", "2", "onnxruntime int8", "0.250 (0.225-0.250)", "4.00 x", "5.00", "0.03", "0.9123"),
    ]
    by_wall = inference.rows_of(found, by_processor=False)
    assert [row[5] for row in by_wall] == ["0.50", "", "2.50"]


def test_differences_are_of_scores_and_boxes(inference):
    scores, boxes = np.array([[0.2, 0.9]], np.float32), np.array([[[0, 0, 2, 2]]], np.float32)
    assert inference._differences([scores], [scores + 0.5]) == (pytest.approx(0.5), None)
    moved = boxes + np.array([1, 0, 1, 0], np.float32)
    assert inference._differences([scores, boxes], [scores, moved]) == (0.0, pytest.approx(1 / 3))


@pytest.mark.parametrize("way", ["eager", "channels_last"])
def test_layouts_of_pytorch_give_one_result_and_leave_the_network_alone(inference, way):
    torch.manual_seed(0)
    graph = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    batch = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    (found,) = inference.in_torch(graph, way, "cpu")(batch)
    np.testing.assert_allclose(found, graph(torch.from_numpy(batch)).detach().numpy(), atol=1e-6)
    assert graph[0].weight.is_contiguous()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_what_the_processor_gives(inference):
    graph = torch.nn.Conv2d(3, 4, 3).eval()
    batch = np.ones((2, 3, 8, 8), np.float32)
    ours, theirs = (inference.in_torch(graph, "channels_last", device)(batch) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)


@pytest.mark.parametrize("option", ["--batch-sizes", "--rounds", "--threads", "--calibration"])
def test_numbers_below_1_are_bad_usage(inference, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        inference.parse_args(["a.py", option, "0"])
    assert "start at 1" in capsys.readouterr().err
