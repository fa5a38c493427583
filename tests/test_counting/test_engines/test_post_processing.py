"""From priors to boxes: values worked out by hand, and the library's own selection for several heads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from tiny_engines import draw_windows

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.counting.engines.post_processing import select_boxes
from ctc_mm.counting.engines.preparation import Geometry
from ctc_mm.engine.export_graph import DetectorGraph, check_detector
from ctc_mm.engine.setup import register_all_modules
from ctc_mm.errors import ConfigError

NMS = {"type": "nms", "iou_threshold": 0.5}
RULES = BoxRules(
    score_thr=0.1, nms_pre=10, nms=NMS, max_per_img=10, min_bbox_size=0, clip=True, level_sizes=(2, 2)
)  # fmt: skip
# Windows of 100 x 50 px, shown in 200 x 50 of an input of 224 x 64.
GEOMETRY = Geometry(input_chw=(3, 64, 224), window_wh=(100, 50), image_hw=(50, 200), scale_wh=(2.0, 1.0))
BOXES = np.array([[20, 10, 40, 20], [22, 10, 42, 20], [100, 10, 120, 30], [-8, 40, 30, 60]], np.float32)
SCORES = np.array([[0.9, 0.0], [0.8, 0.7], [0.05, 0.1], [0.2, 0.6]], np.float32)


def test_no_score_above_the_threshold_gives_no_box():
    found = select_boxes(np.full((4, 2), 0.1, np.float32), BOXES, RULES, GEOMETRY)
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]


def test_boxes_by_hand():
    # The second box of class 0 overlaps the first (IoU 0.82) and falls away; that of class 1 stays; x is halved, and
    # the last box ends at the image's edge, not at the input's. Scores equal to the threshold are none.
    found = select_boxes(SCORES, BOXES, RULES, GEOMETRY)
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6, 0.2])
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert found.labels.dtype == np.int64
    edge = [0, 40, 15, 50]
    np.testing.assert_allclose(found.boxes_xyxy, [[10, 10, 20, 20], [11, 10, 21, 20], edge, edge])


@pytest.mark.parametrize(
    ("change", "scores"),
    [
        ({"max_per_img": 2}, [0.9, 0.7]),
        ({"nms_pre": 1}, [0.9, 0.6]),  # the best of each level
        ({"score_thr": 0.65}, [0.9, 0.7]),
        ({"min_bbox_size": 10.0}, []),  # boxes of 10 px are not larger than 10
        ({"min_bbox_size": 9.9}, [0.9, 0.7, 0.6, 0.2]),
        ({"min_bbox_size": -1}, [0.9, 0.7, 0.6, 0.2]),
        ({"nms": {"type": "nms", "iou_threshold": 0.9}}, [0.9, 0.8, 0.7, 0.6, 0.2]),
        ({"nms": {**NMS, "class_agnostic": True}}, [0.9, 0.6]),
        ({"clip": False, "min_bbox_size": 15.0}, [0.6, 0.2]),
    ],
)
def test_every_rule_has_its_effect(change, scores):
    found = select_boxes(SCORES, BOXES, replace(RULES, **change), GEOMETRY)
    np.testing.assert_allclose(found.scores, scores)


def build(head, test_cfg=None):
    register_all_modules("mmdet")
    torch.manual_seed(0)
    config = ConfigDict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32),
        backbone=dict(type="ResNet", depth=18, base_channels=8),
        neck=dict(type="FPN", in_channels=[8, 16, 32, 64], out_channels=16, start_level=1, num_outs=3),
        bbox_head=dict(num_classes=2, in_channels=16, feat_channels=32, stacked_convs=1, **head),
        test_cfg=dict(nms_pre=50, score_thr=0.02, nms=NMS, min_bbox_size=1, max_per_img=30),
    )
    model = MODELS.build(config).eval()
    with torch.no_grad():
        for name, weight in model.bbox_head.named_parameters():
            if weight.ndim == 4:
                torch.nn.init.normal_(weight, std=0.1)
            elif name.endswith("cls.bias"):
                weight.zero_()  # focal heads start at a score of 0.01
    return model


ANCHORS = dict(type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32])
DELTAS = dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize(
    "head",
    [
        dict(type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=DELTAS),
        dict(type="ATSSHead", anchor_generator=ANCHORS, bbox_coder=DELTAS),
        dict(type="FCOSHead", strides=[8, 16, 32]),
    ],
    ids=lambda head: head["type"],
)
def test_graph_and_selection_are_the_librarys_prediction(head):
    model = build(head)
    geometry = Geometry(input_chw=(3, 72, 80), window_wh=(40, 72), image_hw=(72, 80), scale_wh=(2.0, 1.0))
    images = torch.from_numpy(draw_windows(2, 80)[:, :72].transpose(0, 3, 1, 2).astype(np.float32))
    samples = [DetDataSample(metainfo=dict(img_shape=(72, 80), ori_shape=(72, 40), scale_factor=(2.0, 1.0)))] * 2
    graph = DetectorGraph(model, geometry.input_chw)
    with torch.no_grad():
        scores, boxes, *factors = (part.numpy() for part in graph(images))
        expected = model.test_step({"inputs": images, "data_samples": samples})
    assert scores.shape[1] == sum(graph.level_sizes)
    for place, sample in enumerate(expected):
        found = select_boxes(scores[place], boxes[place], graph.rules(), geometry, *(one[place] for one in factors))
        assert len(found.scores) == len(sample.pred_instances) > 3
        np.testing.assert_allclose(found.boxes_xyxy, sample.pred_instances.bboxes.numpy(), atol=1e-3)
        np.testing.assert_allclose(found.scores, sample.pred_instances.scores.numpy(), atol=1e-6)
        np.testing.assert_array_equal(found.labels, sample.pred_instances.labels.numpy())


def test_head_that_selects_boxes_in_its_own_way_is_named():
    head = dict(type="GFLHead", anchor_generator=ANCHORS, reg_max=4)
    with pytest.raises(ConfigError, match=r"GFLHead cannot be exported: it has its own _predict_by_feat_single"):
        check_detector(build(head))


def test_head_with_another_coder_is_named():
    head = dict(
        type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=dict(type="TBLRBBoxCoder"), reg_decoded_bbox=True
    )
    with pytest.raises(ConfigError, match=r"RetinaHead cannot be exported: it decodes boxes by TBLRBBoxCoder"):
        check_detector(build(head))


def test_detector_of_two_stages_is_named():
    with pytest.raises(ConfigError, match=r"Linear with NoneType cannot be exported: detectors of one stage"):
        check_detector(torch.nn.Linear(2, 2))
