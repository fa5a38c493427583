"""Small real detectors, built through the registry, and one item of a test pipeline for them."""

import re

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

import ctc_mm.models  # noqa: F401
from ctc_mm.explain.detection_cam import DetectionCAM

PREPROCESSOR = dict(type="DetDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, pad_size_divisor=32)
FPN = dict(type="FPN", in_channels=[64, 128, 256, 512], out_channels=16, start_level=1, num_outs=3)
RESNET = dict(type="ResNet", depth=18, norm_cfg=dict(type="BN"))
CSPNEXT = dict(type="CSPNeXt", arch="P5", deepen_factor=0.167, widen_factor=0.125, norm_cfg=dict(type="BN"))
CSPDARKNET = dict(type="CSPDarknet", deepen_factor=0.33, widen_factor=0.125)
ANCHORS = dict(type="AnchorGenerator", octave_base_scale=4, scales_per_octave=2, ratios=[1.0, 2.0], strides=[8, 16, 32])
ONE_ANCHOR = dict(type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32])
DELTAS = dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2])
TEST_CFG = dict(nms_pre=500, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.45), min_bbox_size=0, max_per_img=100)
SMALL_HEAD = dict(num_classes=2, in_channels=16, feat_channels=32, stacked_convs=1)
CENTRES = dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32])

HEADS = {
    "ssd": dict(
        type="ctc_mm.CTCSSDHead",
        num_classes=2,
        in_channels=(16, 16, 16),
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            scale_major=False,
            strides=[8, 16, 32],
            ratios=[[2], [2, 3], [2]],
            min_sizes=[16, 40, 76],
            max_sizes=[40, 76, 124],
        ),
        bbox_coder=DELTAS,
    ),
    "retinanet": dict(type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=DELTAS, **SMALL_HEAD),
    "atss": dict(type="ATSSHead", anchor_generator=ONE_ANCHOR, bbox_coder=DELTAS, **SMALL_HEAD),
    "gfl": dict(type="GFLHead", anchor_generator=ONE_ANCHOR, reg_max=4, **SMALL_HEAD),
    "fcos": dict(type="FCOSHead", strides=[8, 16, 32], **SMALL_HEAD),
    "rtmdet": dict(
        type="RTMDetSepBNHead",
        anchor_generator=CENTRES,
        bbox_coder=dict(type="DistancePointBBoxCoder"),
        with_objectness=False,
        norm_cfg=dict(type="BN"),
        **SMALL_HEAD,
    ),
    "yolox": dict(type="YOLOXHead", strides=[8, 16, 32], **SMALL_HEAD),
}
BODIES = {
    "rtmdet": (
        CSPNEXT,
        dict(type="CSPNeXtPAFPN", in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1),
    ),
    "yolox": (CSPDARKNET, dict(type="YOLOXPAFPN", in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)),
}


def build_model(name: str, seed: int = 0, **test_cfg):
    """A detector with random weights whose scores and boxes differ from prior to prior."""
    init_default_scope("mmdet")
    torch.manual_seed(seed)
    backbone, neck = BODIES.get(name, (RESNET, FPN))
    cfg = ConfigDict(
        type="SingleStageDetector",
        data_preprocessor=PREPROCESSOR,
        backbone=backbone,
        neck=neck,
        bbox_head=HEADS[name],
        test_cfg=dict(TEST_CFG, **test_cfg),
    )
    model = MODELS.build(cfg)
    with torch.no_grad():
        for parameter_name, parameter in model.bbox_head.named_parameters():
            if parameter.ndim == 4:
                torch.nn.init.normal_(parameter, std=0.03)
            elif re.search(r"cls(\.\d+)?\.bias$", parameter_name):
                parameter.zero_()  # focal heads start at a score of 0.01: nothing would be kept
    return model.eval()


def make_item(input_hw=(96, 96), scale=(1.0, 1.0), seed=0):
    """What a test pipeline gives: the image as the network gets it, and where it comes from."""
    image = np.random.default_rng(seed).integers(0, 256, (3, *input_hw), dtype=np.uint8)
    sample = DetDataSample()
    original_hw = (round(input_hw[0] / scale[1]), round(input_hw[1] / scale[0]))
    sample.set_metainfo(dict(img_path="field.png", ori_shape=original_hw, img_shape=input_hw, scale_factor=scale))
    return dict(inputs=torch.from_numpy(image), data_samples=sample)


@pytest.fixture
def detector():
    return build_model


@pytest.fixture
def item():
    return make_item


def make_result(shape=(300, 300), boxes=((40, 60, 100, 120),), explained=True):
    """A result as explain_detection gives it: six levels, the first one hot inside the first box."""
    levels = np.zeros((6, *shape), dtype=np.float32)
    if boxes:
        levels[0, 60:120, 40:100] = 1
    count = len(boxes)
    return DetectionCAM(
        fused=levels[0] * np.float32(6 / 21),
        levels=levels,
        weights=np.arange(6, 0, -1).astype(np.float32),
        level_ids=np.arange(6),
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.full(count, 0.9, dtype=np.float32),
        labels=np.zeros(count, dtype=np.int64),
        box_levels=np.zeros(count, dtype=np.int64),
        explained=np.full(count, explained),
    )


@pytest.fixture
def cam_result():
    return make_result
