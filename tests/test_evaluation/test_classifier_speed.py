import pytest
import torch
from torch import nn

from ctc_mm.evaluation.classifier_speed import ClassifierSpeed, measure_classifier_speed
from ctc_mm.evaluation.speed import Timing


class Cells:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return {"inputs": torch.full((3, 8, 8), float(index)), "data_samples": torch.zeros(1)}


class TinyClassifier(nn.Module):
    """Notes the size of each batch it sees."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.frozen = nn.BatchNorm1d(2).eval()
        self.sizes = []

    def data_preprocessor(self, data, training):
        return {"inputs": torch.stack(data["inputs"]), "data_samples": data["data_samples"]}

    def forward(self, inputs, data_samples, mode):
        self.sizes.append(len(inputs))
        return list(self.layer(inputs.mean(dim=(2, 3))))

    def test_step(self, data):
        return self(**self.data_preprocessor(data, False), mode="predict")


def test_without_images_or_runs_there_is_nothing_to_measure():
    for n, repeats in ((0, 3), (2, 0)):
        with pytest.raises(ValueError, match="needs an image and `repeats` >= 1"):
            measure_classifier_speed(TinyClassifier(), Cells(n), repeats=repeats)


def test_every_batch_size_is_run_and_one_is_always_among_them():
    model = TinyClassifier().train()
    model.frozen.eval()
    report = measure_classifier_speed(model, Cells(3), n_images=8, batch_sizes=(4,), repeats=2)
    assert model.sizes == [1] * 3 + [4] * 3 + [1] * 6  # a warm-up each, then two runs; three files twice
    assert report.input_chw == (3, 8, 8)
    assert (model.layer.training, model.frozen.training) == (True, False)
    content = report.to_json()
    assert set(content["model_alone"]["by_batch_size"]) == {"1", "4"}
    assert content["file_to_scores"]["n"] == 6


def test_the_best_batch_size_is_the_one_with_most_images_per_second():
    alone = {1: Timing(0.5, 0.4, 0.6, 3), 8: Timing(0.1, 0.1, 0.1, 3), 32: Timing(0.2, 0.2, 0.2, 3)}
    report = ClassifierSpeed(alone, alone[1], "cpu", 1, "2.15", (3, 8, 8))
    assert report.best_batch_size == 8
    assert report.to_json()["model_alone"]["best"]["images_per_s"] == pytest.approx(10)
    assert report.to_json()["model_alone"]["batch_1"]["images_per_s"] == pytest.approx(2)
