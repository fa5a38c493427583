"""Features at detected boxes: hits, false positives, ignore regions, RoIAlign by hand."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torchvision.ops import roi_align

import ctc_mm.models  # noqa: F401
from ctc_mm.datasets.ctc_det_dataset import CTCDetDataset
from ctc_mm.errors import ConfigError
from ctc_mm.explain.features_detector import FALSE_POSITIVE, detector_features

WIDTH, HEIGHT, INPUT_PX = 96, 64, 64
# x, y, width, height; class; crowd
TRUTH = [([20, 24, 16, 12], 1, 0), ([60, 10, 20, 20], 2, 0), ([0, 40, 30, 24], 1, 1)]
# In every image: CTC on the CTC, the same again, WBC on the WBC, CTC on the WBC, one in the ignore region, a weak one.
FOUND_XYXY = [
    [20, 24, 36, 36], [21, 24, 37, 36], [60, 10, 80, 30], [60, 10, 80, 30], [2, 42, 20, 60], [40, 40, 50, 50],
]  # fmt: skip
FOUND_LABELS, FOUND_SCORES = [0, 0, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.95, 0.4]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Two fields with the same truth, one without any."""
    folder = tmp_path_factory.mktemp("fields")
    images, annotations = [], []
    for number in range(3):
        generator = np.random.default_rng(number)
        image_bgr = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        image_bgr[24:36, 20:36] = 10, 90, 200
        cv2.imwrite(str(folder / f"{number}.png"), image_bgr)
        images.append(dict(id=number, file_name=f"{number}.png", width=WIDTH, height=HEIGHT, group=f"slide{number}"))
        for box, category, crowd in TRUTH if number < 2 else []:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=number, category_id=category, bbox=box,
                     area=box[2] * box[3], iscrowd=crowd)
            )  # fmt: skip
    categories = [dict(id=1, name="CTC"), dict(id=2, name="WBC")]
    (folder / "set.json").write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return folder


def field_set(folder):
    pipeline = [
        dict(type="ctc_mm.LoadMicroscopyImage"),
        dict(type="Resize", scale=(INPUT_PX, INPUT_PX), keep_ratio=False),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
    ]
    return CTCDetDataset(
        data_root=str(folder), ann_file="set.json", data_prefix=dict(img=""), test_mode=True, pipeline=pipeline,
        metainfo=dict(classes=("CTC", "WBC")),
    )  # fmt: skip


@pytest.fixture
def model(monkeypatch):
    torch.manual_seed(0)
    config = dict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
        backbone=dict(type="ResNet", depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
        neck=dict(type="FPN", in_channels=[64, 128], out_channels=8, num_outs=2),
        bbox_head=dict(
            type="ctc_mm.CTCSSDHead",
            num_classes=2,
            in_channels=(8, 8),
            anchor_generator=dict(
                type="SSDAnchorGenerator", scale_major=False, strides=[4, 8], ratios=[[2], [2]],
                min_sizes=[16, 40], max_sizes=[40, 76],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        ),
        test_cfg=dict(nms_pre=200, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.45), max_per_img=20),
    )  # fmt: skip
    detector = MODELS.build(ConfigDict(config)).train()
    found = InstanceData(
        bboxes=torch.tensor(FOUND_XYXY, dtype=torch.float32),
        labels=torch.tensor(FOUND_LABELS),
        scores=torch.tensor(FOUND_SCORES),
    )
    # The layers work as they do; what the head decodes is set, so that hits and misses are known.
    monkeypatch.setattr(detector.bbox_head, "predict", lambda _maps, samples, rescale: [found.clone() for _ in samples])
    return detector


def test_boxes_are_hits_of_their_class_or_false_positives(model, fields):
    table = detector_features(model, field_set(fields), ["neck"])
    assert table.categories == ("CTC", "WBC", FALSE_POSITIVE)
    judged = [(point.predicted, table.categories[point.category], point.misjudged) for point in table.points]
    hit, twice = ("CTC", "CTC", False), ("CTC", FALSE_POSITIVE, True)
    # By score: (the region's box), CTC, the same again, WBC, CTC on a WBC.
    of_one_field = [hit, twice, ("WBC", "WBC", False), twice]
    blank = [twice, twice, twice, ("WBC", FALSE_POSITIVE, True), twice]
    assert judged == [*of_one_field, *of_one_field, *blank]
    assert table.notes == ("2 boxes in ignore regions left out",)
    first = table.points[0]
    assert first.box_xyxy == (20, 24, 36, 36)
    assert first.score == pytest.approx(0.9)
    assert first.group == "slide0"
    assert first.path.endswith("0.png")
    assert len({point.cell_id for point in table.points}) == len(table)


def test_no_truth_is_an_error_not_a_map_of_false_positives(model, fields):
    dataset = field_set(fields)
    dataset.pipeline.transforms.pop(2)
    with pytest.raises(ConfigError, match=r"the evaluated samples carry no truth\. Put .*LoadAnnotations"):
        detector_features(model, dataset, ["neck"])


def test_thresholds_by_class(model, fields):
    table = detector_features(model, field_set(fields), ["neck"], score_thr=(0.85, 0.5))
    assert {(point.predicted, round(point.score, 2)) for point in table.points} == {
        ("CTC", 0.9), ("WBC", 0.7), ("CTC", 0.95),
    }  # fmt: skip
    assert len(detector_features(model, field_set(fields), ["neck"], score_thr=0.3)) == 13 + 3
    with pytest.raises(ValueError, match="one number or one for each of 2 classes"):
        detector_features(model, field_set(fields), ["neck"], score_thr=(0.1, 0.2, 0.3))


def test_features_are_the_map_under_the_box(model, fields):
    dataset = field_set(fields)
    table = detector_features(model, dataset, ["neck", "neck[1]", "backbone[1]", "input"])
    model.eval()
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=[dataset[1]["inputs"]], data_samples=[]), False)["inputs"]
        stages = model.backbone(inputs)
        levels = model.neck(stages)
    scale = torch.tensor([INPUT_PX / WIDTH, INPUT_PX / HEIGHT] * 2)
    boxes = torch.tensor([point.box_xyxy for point in table.points[4:8]]) * scale
    expected = {"neck": (levels[0], 64), "neck[1]": (levels[1], 32), "backbone[1]": (stages[1], 32)}
    for name, (maps, _) in expected.items():
        pooled = roi_align(maps, [boxes], 7, spatial_scale=maps.shape[-1] / INPUT_PX, aligned=True).mean(dim=(2, 3))
        np.testing.assert_allclose(table.features[name][4:8], pooled.numpy(), atol=1e-5, err_msg=name)
    assert table.features["input"].shape == (13, 3 * 26 * 26)


def test_thumbnails_show_the_box_in_its_colours(model, fields):
    table = detector_features(model, field_set(fields), ["neck"])
    red, green, blue = table.thumbnails[0].reshape(-1, 3).mean(axis=0)  # the CTC of the first field
    assert red > 180 > 120 > green > 40 > blue


def test_no_box_at_all_is_an_empty_table(model, fields):
    table = detector_features(model, field_set(fields), ["neck", "input"], score_thr=1.1)
    assert len(table) == 0
    assert table.counts() == {"CTC": 0, "WBC": 0, FALSE_POSITIVE: 0}
    assert table.features["neck"].shape == (0, 8)
    assert table.thumbnails.shape == (0, 48, 48, 3)


def test_fewer_boxes_are_drawn_and_said(model, fields):
    table = detector_features(model, field_set(fields), ["neck"], max_samples=7)
    assert table.counts() == {"CTC": 2, "WBC": 1, FALSE_POSITIVE: 4}
    assert "7 of 13 samples drawn by chance, each class by its share (seed 0)" in table.notes


def test_layers_without_maps_are_refused_and_the_model_is_left_as_it_was(model, fields):
    modes = {name: module.training for name, module in model.named_modules()}
    with pytest.raises(ValueError, match=r"the model has no layer 'necks'.*Did you mean neck"):
        detector_features(model, field_set(fields), ["necks"])
    with pytest.raises(ValueError, match="'bbox_head.loss_cls' gives no map or vector"):
        detector_features(model, field_set(fields), ["bbox_head.loss_cls"])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not any(module._forward_hooks for module in model.modules())
