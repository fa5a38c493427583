import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn

from ctc_mm.evaluation import speed
from ctc_mm.evaluation.speed import inference_pipeline, measure_speed, write_speed

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "mmdet.Resize", "scale": (32, 24), "keep_ratio": False},
    {"type": "mmdet.LoadAnnotations", "with_bbox": True},
    {"type": "mmdet.PackDetInputs"},
]


class Detector(BaseModel):
    """Counts its calls; one box an image."""

    def __init__(self):
        super().__init__(data_preprocessor={"type": "mmdet.DetDataPreprocessor"})
        self.linear = nn.Linear(3, 1)
        self.frozen = nn.BatchNorm2d(3)
        self.modes, self.shapes, self.grad = [], [], []

    def forward(self, inputs, data_samples, mode="tensor"):
        self.modes.append(mode)
        self.shapes.append(tuple(inputs.shape))
        self.grad.append(torch.is_grad_enabled() or self.training)
        for sample in data_samples:
            sample.pred_instances = InstanceData(bboxes=torch.zeros(1, 4), scores=torch.ones(1))
        return data_samples


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        cv2.imwrite(str(path), np.full((20, 40, 3), 128, np.uint8))
    return paths


@pytest.fixture(autouse=True)
def _scope():
    import mmdet.datasets.transforms
    import mmdet.models.data_preprocessors  # noqa: F401

    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def test_every_run_is_timed_and_the_modes_come_back(images, tmp_path):
    model = Detector().train()
    model.frozen.eval()
    report = measure_speed(model, PIPELINE, images, warmup=2, repeats=4)
    assert len(model.modes) == 2 + 3 * (4 + 4)
    assert set(model.modes) == {"predict"}
    assert set(model.shapes) == {(1, 3, 24, 32)}
    assert not any(model.grad)
    assert (model.training, model.frozen.training) == (True, False)
    assert (report.model_alone.n, report.file_to_boxes.n, report.input_chw) == (12, 12, (3, 24, 32))
    for timing in (report.model_alone, report.file_to_boxes):
        assert 0 < timing.quartile1_s <= timing.median_s <= timing.quartile3_s
        assert timing.fps == pytest.approx(1 / timing.median_s)
    write_speed(tmp_path / "speed.json", report)
    content = json.loads((tmp_path / "speed.json").read_text())
    assert (content["batch_size"], content["images"], content["runs_per_image"]) == (1, 3, 4)
    assert "NMS" in content["model_alone"]["includes"]
    assert "reading" in content["file_to_boxes"]["includes"]
    assert content["device"].startswith("cpu (")
    assert content["torch"] == torch.__version__
    assert content["threads"] == torch.get_num_threads()


def test_median_and_quartiles_by_a_clock_of_our_own(images, monkeypatch):
    ticks = iter([0, 1, 10, 13, 20, 22, 30, 30.5])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    report = measure_speed(Detector(), PIPELINE, [{"img_path": str(images[0])}], warmup=0, repeats=2)
    alone, whole = report.model_alone, report.file_to_boxes  # 1 and 2 s; 3 and 0.5 s
    assert (alone.median_s, alone.quartile1_s, alone.quartile3_s) == (1.5, 1.25, 1.75)
    assert (whole.median_s, whole.fps) == (1.75, 1 / 1.75)


def test_modes_come_back_after_a_failure(tmp_path):
    model = Detector().train()
    with pytest.raises(FileNotFoundError, match="missing.png"):
        measure_speed(model, PIPELINE, [tmp_path / "missing.png"])
    assert model.training


def test_annotation_steps_are_left_out():
    kinds = [type(step).__name__ for step in inference_pipeline(PIPELINE).transforms]
    assert kinds == ["LoadImageFromFile", "Resize", "PackDetInputs"]


@pytest.mark.parametrize(("n", "options"), [(0, {}), (1, {"repeats": 0}), (1, {"warmup": -1})])
def test_nothing_to_measure_is_an_error(images, n, options):
    with pytest.raises(ValueError, match="at least one image"):
        measure_speed(Detector(), PIPELINE, images[:n], **options)
