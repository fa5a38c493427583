"""Boxes as a network sees them, the anchors that its generator really lays out, and their fit."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from tiny_fields import draw_fields, write_field_config

from ctc_mm.datasets.anchors import best_grid_iou
from ctc_mm.engine.anchor_fit import boxes_of_coco, boxes_of_config, fit_config, fit_file
from ctc_mm.engine.anchor_fit.fit import FITTED, OWN, climb
from ctc_mm.engine.anchor_fit.generators import find_generator, grids_of, lay_out, numbers_of
from ctc_mm.engine.anchor_fit.report import draw_fit, report_lines, write_leaf
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import AnnotationError, ConfigError

COUNT = 6
# Of 96 x 64 px, seen at 64 x 64.
SEEN_XYXY = [[20 * 64 / 96, 24, 36 * 64 / 96, 36], [40, 10, 80 * 64 / 96, 30]]


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    return draw_fields(tmp_path_factory.mktemp("anchors") / "fields", COUNT)


@pytest.fixture(scope="module")
def config_file(fields):
    return write_field_config(fields.parent / "tiny.py", fields)


@pytest.fixture
def config(config_file):
    return load_config(config_file)


@pytest.fixture(scope="module")
def fit(config_file):
    return fit_config(load_config(config_file))


def test_boxes_in_pixels_of_the_network(config):
    found = boxes_of_config(config)
    np.testing.assert_allclose(found.boxes_xyxy, SEEN_XYXY * COUNT, rtol=1e-5)
    assert found.labels.tolist() == [0, 1] * COUNT
    assert (found.classes, found.size_wh, found.images, found.left_out) == (("CTC", "WBC"), (64, 64), COUNT, 0)


def test_boxes_of_wrapped_sets(config):
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[inner, inner])
    assert boxes_of_config(config).images == 2 * COUNT


def test_boxes_as_training_augments_them(config):
    load, resize, boxes, pack = config.train_dataloader.dataset.pipeline
    flip = dict(type="RandomFlip", prob=1.0)
    config.train_dataloader.dataset.pipeline = [load, boxes, resize, flip, pack]
    found = boxes_of_config(config, view="augmented", epochs=2)
    assert found.images == 2 * COUNT
    mirrored = [[64 - x1, y0, 64 - x0, y1] for x0, y0, x1, y1 in SEEN_XYXY]
    np.testing.assert_allclose(found.boxes_xyxy, mirrored * 2 * COUNT, rtol=1e-5)


def test_boxes_of_a_file(fields, tmp_path):
    plain, resized = boxes_of_coco(fields / "set.json"), boxes_of_coco(fields / "set.json", (64, 64))
    assert plain.boxes_xyxy[:2].tolist() == [[20, 24, 36, 36], [60, 10, 80, 30]]
    np.testing.assert_allclose(resized.boxes_xyxy, SEEN_XYXY * COUNT)
    assert (plain.size_wh, resized.size_wh) == ((96, 64), (64, 64))
    content = json.loads((fields / "set.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "ignored.json").write_text(json.dumps(content))
    assert (boxes_of_coco(tmp_path / "ignored.json").left_out, len(plain.labels)) == (1, 2 * COUNT)
    (tmp_path / "blank.json").write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(AnnotationError, match=r"blank\.json: no box of a pixel or more"):
        fit_file(tmp_path / "blank.json", 1)


GENERATORS = {
    "ssd": dict(type="SSDAnchorGenerator", scale_major=False, strides=[8, 16], ratios=[[2], [2, 3]],
                min_sizes=[12, 30], max_sizes=[30, 50]),
    "yolo": dict(type="YOLOAnchorGenerator", strides=[16, 8], base_sizes=[[(30, 40), (50, 20)], [(9, 9), (8, 14)]]),
    "retina": dict(type="AnchorGenerator", strides=[8, 16], ratios=[0.5, 1.0, 2.0], octave_base_scale=2,
                   scales_per_octave=2),
    "plain": dict(type="AnchorGenerator", strides=[8, 16], ratios=[1.0], scales=[2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(GENERATORS))
def test_the_grid_is_that_of_the_library(name):
    cfg = GENERATORS[name]
    strides = cfg["strides"]
    grids_wh = [(96 // stride, 64 // stride) for stride in strides]
    priors = TASK_UTILS.build(dict(cfg)).grid_priors([grid[::-1] for grid in grids_wh], device="cpu")
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (50, 2))
    boxes = np.hstack([corners, corners + generator.uniform(4, 50, (50, 2))])
    expected = bbox_overlaps(torch.tensor(boxes).float(), torch.cat(priors)).max(dim=1).values
    np.testing.assert_allclose(best_grid_iou(boxes, lay_out(cfg, grids_wh)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["ssd", "retina", "plain"])
def test_own_numbers_give_the_own_anchors(name):
    cfg = GENERATORS[name]
    numbers = numbers_of(cfg)
    before, after = (lay_out(one, [(4, 4), (2, 2)]) for one in (cfg, {**cfg, **numbers.keys(numbers.own)}))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.first_xyxy, other.first_xyxy, atol=1e-4)


def test_other_generators_are_refused():
    with pytest.raises(ConfigError, match="'LegacyAnchorGenerator' cannot be fitted; SSDAnchorGenerator, YOLO"):
        numbers_of(dict(type="mmdet.LegacyAnchorGenerator"))
    with pytest.raises(ConfigError, match="without anchors"):
        find_generator(load_config_of_a_point_detector())


def load_config_of_a_point_detector():
    from mmengine.config import Config

    return Config(dict(model=dict(bbox_head=dict(type="RTMDetHead", prior_generator=dict(type="MlvlPointGenerator")))))


def test_feature_maps_are_those_of_the_model(config):
    assert grids_of(config, (64, 64)) == [(16, 16), (8, 8)]
    assert grids_of(config, (50, 64)) == [(13, 16), (7, 8)]
    config.model.data_preprocessor.pad_size_divisor = 32
    assert grids_of(config, (50, 64)) == [(16, 16), (8, 8)]
    config.model.bbox_head.anchor_generator.strides = [4, 8, 16]
    generator = dict(config.model.bbox_head.anchor_generator, ratios=[[2]] * 3, min_sizes=[4] * 3, max_sizes=[9] * 3)
    with pytest.raises(ConfigError, match="has 3 levels, and the model 2 feature maps"):
        lay_out(generator, [(16, 16), (8, 8)])


def test_the_fit_meets_the_boxes_better(fit):
    assert (fit.key, set(fit.settings)) == ("model.bbox_head.anchor_generator", {"min_sizes", "max_sizes", "ratios"})
    own, fitted = (fit.coverage["train"][name][0] for name in (OWN, FITTED))
    assert fitted.grid_mean_iou > own.grid_mean_iou + 0.05
    assert (fitted.grid_recall, fitted.boxes) == (1.0, 2 * COUNT)
    assert [len(level.first_xyxy) for level in fit.levels[FITTED]] == [4, 4]  # as many as before
    assert set(fit.coverage) == {"train", "val"}


def test_k_means_begins_the_search_where_there_are_boxes_enough(config, tmp_path, fields):
    content = json.loads((fields / "set.json").read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["bbox"][2:] = [10 + number, 12 + number]
    (tmp_path / "many.json").write_text(json.dumps(content))
    config.train_dataloader.dataset.ann_file = str(tmp_path / "many.json")
    found = fit_config(config)
    assert len(found.shapes_wh) == 3
    own, fitted = (found.coverage["train"][name][0].grid_mean_iou for name in (OWN, FITTED))
    assert fitted > own


def test_the_report_and_the_leaf_say_the_same(fit, config_file, tmp_path):
    lines = list(report_lines(fit))
    assert lines[0] == f"{2 * COUNT} boxes of {COUNT} images at 64 x 64 px"
    assert any(line.split()[:3] == ["fitted", "CTC", str(COUNT)] for line in lines)
    write_leaf(tmp_path / "leaf.py", config_file, fit)
    generator = load_config(tmp_path / "leaf.py").model.bbox_head.anchor_generator
    assert {key: generator[key] for key in fit.settings} == fit.settings
    # The words after --cfg-options do the same.
    words = lines[-1].removeprefix("--cfg-options ").split('" ')
    options = {key: json.loads(value.strip('"')) for key, value in (word.split("=") for word in words)}
    assert options == {f"{fit.key}.{key}": value for key, value in fit.settings.items()}
    assert load_config(config_file, options).model.bbox_head.anchor_generator == generator


def test_the_picture(fit, fields):
    assert draw_fit(fit)[:4] == b"\x89PNG"
    assert draw_fit(fit) == draw_fit(fit)
    assert draw_fit(fit_file(fields / "set.json", 2))[:4] == b"\x89PNG"


def test_free_shapes_of_a_yolo_go_to_the_level_of_their_size(config):
    config.model.bbox_head.anchor_generator = dict(
        type="YOLOAnchorGenerator", strides=[4, 8], base_sizes=[[(2, 2)], [(3, 3)]]
    )
    found = fit_config(config)
    assert found.settings == dict(base_sizes=[[(11, 12)], [(13, 20)]])
    assert found.coverage["train"][FITTED][0].shape_recall == 1.0


def test_shapes_of_a_file(fields):
    found = fit_file(fields / "set.json", 2)
    assert found.shapes_wh.tolist() == [[16, 12], [20, 20]]
    assert found.shape_mean_iou == 1.0
    with pytest.raises(AnnotationError, match=r"set\.json: 3 anchor shapes cannot be fitted to 2 different boxes"):
        fit_file(fields / "set.json", 3)


def test_a_climb_never_ends_lower():
    def score(numbers):
        return -abs(numbers[0] - 10) - 0.1 * abs(numbers[1] - 3)

    best, value = climb((2.0, 3.0, 7.0), score, (1, 1, 1), (20, 20, 20))
    assert best[0] == pytest.approx(10, rel=0.05)
    assert best[1:] == [3.0, 7.0]  # right already, and of no matter
    assert value == score(best) > score((2.0, 3.0))
    assert climb((2.0, 3.0), score, (1, 1), (5, 5))[0][0] == 5  # as far as it may


@pytest.mark.parametrize(("split", "view"), [("test", "resized"), ("train", "raw")])
def test_the_test_set_is_never_fitted_to(config, split, view):
    with pytest.raises(ConfigError, match="anchors are fitted on train or val"):
        boxes_of_config(config, split, view)
