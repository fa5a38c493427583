"""A classifier that can only go by one planted feature: after training the map lies on it, before it does not."""

import cv2
import numpy as np
import pytest
import torch
from grad_cam_library import correlation, library_map
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ctc_mm.explain.classifier_cam import explain_classification
from ctc_mm.explain.sanity import inside_outside_ratio

SIDE_PX, SPOT_SD_PX = 64, 2.0


def draw_cell(label, rng):
    """A dark disc; class 0 has a bright spot somewhere in it. The item, and the spot's box."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    centre_y, centre_x, radius = *rng.uniform(24, 40, 2), rng.uniform(12, 16)
    image = 150 + rng.normal(0, 8, (SIDE_PX, SIDE_PX)) - 60 * (np.hypot(rows - centre_y, columns - centre_x) < radius)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, radius - 4)
    y, x = centre_y + distance * np.sin(angle), centre_x + distance * np.cos(angle)
    if label == 0:
        image += 90 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * SPOT_SD_PX**2))
    image = cv2.GaussianBlur(np.clip(image, 0, 255), (0, 0), 0.7).astype(np.float32)
    inputs = torch.from_numpy(np.repeat(image[None], 3, axis=0))
    return dict(inputs=inputs, data_samples=DataSample().set_gt_label(label)), [x - 5, y - 5, x + 6, y + 6]


def build_classifier():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=dict(mean=[130.0] * 3, std=[40.0] * 3),
            backbone=dict(type="ResNet", depth=18, stem_channels=16, base_channels=16),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=2, in_channels=128),
        )
    )
    model.init_weights()
    return model


def train(model, items, iterations, rng):
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, iterations)
    model.train()
    for _ in range(iterations):
        chosen = [items[index] for index in rng.choice(len(items), 32, replace=False)]
        batch = {key: [item[key] for item in chosen] for key in ("inputs", "data_samples")}
        batch = model.data_preprocessor(batch, training=True)
        loss = model.loss(batch["inputs"], batch["data_samples"])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.fixture(scope="module")
def experiment():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    rng = np.random.default_rng(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        untrained, trained = build_classifier(), build_classifier()
    seen = [draw_cell(index % 2, rng)[0] for index in range(256)]
    unseen = [draw_cell(index % 2, rng) for index in range(60)]
    train(trained, seen, 100, rng)
    yield untrained, trained, unseen
    torch.set_num_threads(threads)


def median_ratio(model, cells, **options):
    """How much hotter the map of class 0 is on the spot than elsewhere, over the cells that have one."""
    cams = [(explain_classification(model, item, label=0, **options).cam, box) for item, box in cells[::2]]
    return float(np.median([inside_outside_ratio(cam, [box]) for cam, box in cams]))


def test_the_classifier_tells_the_classes_by_the_spot(experiment):
    _, trained, cells = experiment
    right = [explain_classification(trained, item).predicted == int(item["data_samples"].gt_label) for item, _ in cells]
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("against_others", [False, True])
def test_the_trained_map_lies_on_the_spot_and_a_random_one_does_not(experiment, against_others):
    untrained, trained, cells = experiment
    after = median_ratio(trained, cells, against_others=against_others)
    before = median_ratio(untrained, cells, against_others=against_others)
    assert after > 3
    assert before < after / 2


def test_the_default_layer_points_better_than_the_coarse_last_one(experiment):
    _, trained, cells = experiment
    assert explain_classification(trained, cells[0][0], layer="backbone.layer4").raw.shape == (2, 2)
    assert explain_classification(trained, cells[0][0]).raw.shape == (8, 8)
    assert median_ratio(trained, cells) > 2 * median_ratio(trained, cells, layer="backbone.layer4")


def test_trained_maps_agree_with_the_library(experiment):
    _, trained, cells = experiment
    for item, _ in cells[:6:2]:
        result = explain_classification(trained, item, label=0)
        assert correlation(result.cam, library_map(trained, item["inputs"], result.layer, 0)) > 0.99
