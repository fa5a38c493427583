"""From priors to boxes: values worked out by hand, and the library's own selection for several heads."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from tiny_engines import draw_windows

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.counting.engines.post_processing import select_boxes, selected_boxes
from ctc_mm.counting.engines.preparation import Geometry
from ctc_mm.engine.export_graph import DetectorGraph, SelectingGraph
from ctc_mm.engine.export_heads import head_graph
from ctc_mm.engine.export_nms import BoxSelection
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
    rules = replace(RULES, **change)
    found = select_boxes(SCORES, BOXES, rules, GEOMETRY)
    np.testing.assert_allclose(found.scores, scores)
    in_graph = BoxSelection(rules, GEOMETRY, 2)(torch.from_numpy(SCORES)[None], torch.from_numpy(BOXES)[None])
    best, labels, boxes = (part[0].numpy() for part in in_graph)
    for ours, theirs in zip(selected_boxes(best, labels, boxes, GEOMETRY), found, strict=True):
        np.testing.assert_allclose(ours, theirs)


def build(head, test_cfg=None):
    """A detector with this head, with weights under which scores differ from prior to prior."""
    register_all_modules("mmdet")
    torch.manual_seed(0)
    head = {key: value for key, value in head.items() if key != "conf_thr"}
    if head["type"] == "YOLOV3Head":
        head |= dict(in_channels=[16] * 3, out_channels=[32] * 3, num_classes=2)
    else:
        head = dict(num_classes=2, in_channels=16, feat_channels=32, stacked_convs=1) | head
    rules = dict(nms_pre=50, score_thr=0.02, nms=NMS, min_bbox_size=1, max_per_img=30) | (test_cfg or {})
    config = ConfigDict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32),
        backbone=dict(type="ResNet", depth=18, base_channels=8),
        neck=dict(type="FPN", in_channels=[8, 16, 32, 64], out_channels=16, start_level=1, num_outs=3),
        bbox_head=head,
        test_cfg=rules,
    )
    model = MODELS.build(config).eval()
    with torch.no_grad():
        for name, weight in model.bbox_head.named_parameters():
            if weight.ndim == 4:
                torch.nn.init.normal_(weight, std=0.1)
            elif re.search(r"(cls|obj|convs_pred)(\.\d+)?\.bias$", name):
                weight.zero_()  # focal heads start at a score of 0.01
    return model


ANCHORS = dict(type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32])
YOLOV3 = dict(
    type="YOLOV3Head",
    featmap_strides=[32, 16, 8],
    anchor_generator=dict(
        type="YOLOAnchorGenerator",
        base_sizes=[[(40, 30), (30, 60)], [(20, 20), (25, 15)], [(8, 8), (12, 10)]],
        strides=[32, 16, 8],
    ),
)
DELTAS = dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize(
    "head",
    [
        dict(type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=DELTAS),
        dict(type="ATSSHead", anchor_generator=ANCHORS, bbox_coder=DELTAS),
        dict(type="FCOSHead", strides=[8, 16, 32]),
        dict(
            type="RTMDetSepBNHead",
            anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
            bbox_coder=dict(type="DistancePointBBoxCoder"),
            with_objectness=False,
        ),
        dict(type="YOLOXHead", strides=[8, 16, 32]),
        YOLOV3,
        YOLOV3 | dict(conf_thr=0.5),
    ],
    ids=lambda head: head["type"] + ("" if "conf_thr" not in head else ", least objectness"),
)
def test_graph_and_selection_are_the_librarys_prediction(head):
    model = build(head)
    if "conf_thr" in head:
        model.bbox_head.test_cfg.conf_thr = head["conf_thr"]
    geometry = Geometry(input_chw=(3, 72, 80), window_wh=(40, 72), image_hw=(72, 80), scale_wh=(2.0, 1.0))
    images = torch.from_numpy(draw_windows(2, 80)[:, :72].transpose(0, 3, 1, 2).astype(np.float32))
    samples = [DetDataSample(metainfo=dict(img_shape=(72, 80), ori_shape=(72, 40), scale_factor=(2.0, 1.0)))] * 2
    graph = DetectorGraph(model, geometry.input_chw)
    with torch.no_grad():
        scores, boxes, *factors = (part.numpy() for part in graph(images))
        expected = model.test_step({"inputs": images, "data_samples": samples})
    assert scores.shape[1] == sum(graph.rules().level_sizes)
    for place, sample in enumerate(expected):
        found = select_boxes(scores[place], boxes[place], graph.rules(), geometry, *(one[place] for one in factors))
        assert len(found.scores) == len(sample.pred_instances) > 3
        np.testing.assert_allclose(found.boxes_xyxy, sample.pred_instances.bboxes.numpy(), atol=1e-3)
        np.testing.assert_allclose(found.scores, sample.pred_instances.scores.numpy(), atol=1e-6)
        np.testing.assert_array_equal(found.labels, sample.pred_instances.labels.numpy())


def test_head_that_selects_boxes_in_its_own_way_is_named():
    head = dict(type="GFLHead", anchor_generator=ANCHORS, reg_max=4)
    with pytest.raises(ConfigError, match=r"GFLHead cannot be exported: it has its own _predict_by_feat_single"):
        head_graph(build(head))


def test_head_with_another_coder_is_named():
    head = dict(
        type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=dict(type="TBLRBBoxCoder"), reg_decoded_bbox=True
    )
    with pytest.raises(ConfigError, match=r"RetinaHead cannot be exported: it decodes boxes by TBLRBBoxCoder"):
        head_graph(build(head))


def test_detector_of_two_stages_is_named():
    with pytest.raises(ConfigError, match=r"Linear cannot be exported: detectors of one stage"):
        head_graph(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    "test_cfg",
    [
        {},
        {"nms_pre": 7},
        {"score_thr": 0.6},
        {"max_per_img": 3},
        {"min_bbox_size": 2.5},
        {"nms": {**NMS, "iou_threshold": 0.2, "class_agnostic": True}},
    ],
    ids=lambda test_cfg: next(iter(test_cfg), "as it is"),
)
@pytest.mark.parametrize("name", ["RetinaHead", "FCOSHead"])
def test_graph_that_selects_boxes_gives_the_librarys_prediction(name, test_cfg):
    head = dict(type=name, anchor_generator=ANCHORS, bbox_coder=DELTAS)
    model = build(head if name == "RetinaHead" else dict(type=name, strides=[8, 16, 32]), test_cfg)
    geometry = Geometry(input_chw=(3, 64, 96), window_wh=(48, 48), image_hw=(60, 96), scale_wh=(2.0, 1.25))
    images = torch.from_numpy(draw_windows(2, 96)[:, :64].transpose(0, 3, 1, 2).astype(np.float32))
    samples = [DetDataSample(metainfo=dict(img_shape=(60, 96), ori_shape=(48, 48), scale_factor=(2.0, 1.25)))] * 2
    graph = SelectingGraph(DetectorGraph(model, geometry.input_chw), geometry, "a model")
    with torch.no_grad():
        found = [part.numpy() for part in graph(images)]
        expected = model.test_step({"inputs": images, "data_samples": samples})
    for scores, labels, boxes, sample in zip(*found, expected, strict=True):
        boxes = selected_boxes(scores, labels, boxes, geometry)
        assert len(boxes.scores) == len(sample.pred_instances) > 0
        np.testing.assert_allclose(boxes.scores, sample.pred_instances.scores.numpy(), atol=1e-6)
        np.testing.assert_allclose(boxes.boxes_xyxy, sample.pred_instances.bboxes.numpy(), atol=1e-3)
        np.testing.assert_array_equal(boxes.labels, sample.pred_instances.labels.numpy())
        assert (labels[len(boxes.scores) :] == -1).all()


def test_window_without_a_box_has_none():
    rules = BoxRules(0.5, 4, NMS, 10, -1.0, True, (3, 1))
    select = BoxSelection(rules, GEOMETRY, 2)
    boxes = torch.tensor([[[0.0, 0.0, 9.0, 9.0]] * 4] * 2)
    scores = torch.full((2, 4, 2), 0.5)  # not above the threshold
    scores[1, 3, 1] = 0.75
    kept, labels, _ = select(scores, boxes)
    assert kept.tolist() == [[0.0] * 8, [0.75] + [0.0] * 7]
    assert labels.tolist() == [[-1] * 8, [1] + [-1] * 7]
    found = selected_boxes(kept[0].numpy(), labels[0].numpy(), boxes[0].repeat(2, 1).numpy(), GEOMETRY)
    assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize("nms", [{"type": "soft_nms"}, {"type": "nms", "iou_threshold": 0.5, "max_num": 3}])
def test_nms_that_no_graph_can_hold_is_refused(nms):
    model = build(dict(type="FCOSHead", strides=[8, 16, 32]), {"nms": nms})
    with pytest.raises(ConfigError, match=r"a model: its test_cfg\.nms .* cannot be part of the file.* --nms outside"):
        SelectingGraph(DetectorGraph(model, (3, 64, 64)), GEOMETRY, "a model")
