"""Each compared detector trains a step and predicts, without compiled ops; all share data, budget and selection."""

import copy
import functools
import math
from pathlib import Path

import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torchvision.ops import box_iou

from ctc_mm.engine.pretrained import find_pretrained, train_from_scratch
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.weight_sources import weights_address

FOLDERS = [Path(__file__).parents[2] / "configs" / folder for folder in ("compare", "lite/compare")]
FULL, LIGHT = (sorted(folder.glob("*.py")) for folder in FOLDERS)
ALL = FULL + LIGHT
IDS = [path.stem for path in ALL]
CELL_XYXY = (12.0, 16.0, 36.0, 40.0)  # px


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


@functools.cache
def load(path):
    return load_config(path)


@functools.cache
def from_scratch(path):
    config = train_from_scratch(load(path))
    assert find_pretrained(config.model) == []
    return config


def side_px(config):
    """SSD300's last level is one cell at 300 px and nothing below."""
    return 300 if config.model.backbone.type == "SSDVGG" else 64


def batch(side):
    """A field with one bright cell, and one without cells."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 60, (3, side, side), generator=generator, dtype=torch.uint8) for _ in range(2)]
    x0, y0, x1, y1 = (int(value) for value in CELL_XYXY)
    images[0][:, y0:y1, x0:x1] += 150
    samples = []
    for boxes in (torch.tensor([CELL_XYXY]), torch.zeros(0, 4)):
        shape = dict(img_shape=(side, side), ori_shape=(side, side), pad_shape=(side, side), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def build(config, score_thr=None):
    model_cfg = copy.deepcopy(config.model)
    if score_thr is not None:
        model_cfg.test_cfg.get("rcnn", model_cfg.test_cfg).score_thr = score_thr
    torch.manual_seed(0)
    model = MODELS.build(model_cfg)
    model.init_weights()
    return model


def test_both_tables_are_complete():
    assert {path.stem.removesuffix("_ctc") for path in FULL} == {
        "faster_rcnn_r50_fpn", "yolov3_d53", "yolox_s", "retinanet_r50_fpn", "efficientdet_d0", "ssd300_vgg16",
        "ssd_cbam_vgg16", "rtmdet_tiny",
    }  # fmt: skip
    assert {path.stem.removesuffix("_bccd") for path in LIGHT} == {
        "faster_rcnn_r18_fpn", "yolov3_mobilenetv2", "yolox_tiny", "retinanet_r18_fpn", "efficientdet_d0", "ssdlite",
        "ssdlite_cbam", "rtmdet_tiny",
    }  # fmt: skip


@pytest.mark.parametrize(("paths", "upgraded"), [(FULL, "ssd_cbam_vgg16_ctc"), (LIGHT, "ssdlite_cbam_bccd")])
def test_all_share_data_training_and_selection_with_the_upgraded_ssd(paths, upgraded):
    shared = (
        "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator", "optim_wrapper",
        "param_scheduler", "train_cfg", "custom_hooks", "input_size", "classes", "randomness",
    )  # fmt: skip
    ssd = load(next(path for path in paths if path.stem == upgraded))
    for path in paths:
        config = load(path)
        for key in shared:
            assert config[key] == ssd[key], (path.stem, key)
        for key in ("score_thr", "nms", "max_per_img"):
            assert config.model.test_cfg.get("rcnn", config.model.test_cfg)[key] == ssd.model.test_cfg[key]
        assert config.model.data_preprocessor.pad_size_divisor in (1, 32)


def test_full_size_starts_from_published_weights_and_light_from_none():
    for path in LIGHT:
        assert find_pretrained(load(path).model) == [], path.stem
    for path in FULL:
        (entry,) = find_pretrained(load(path).model)
        assert entry.path == "model.backbone.init_cfg", path.stem
        assert weights_address(entry.checkpoint).startswith("https://")
        if not entry.checkpoint.startswith("torchvision://"):
            assert path.stem in ("yolov3_d53_ctc", "yolox_s_ctc", "rtmdet_tiny_ctc")  # torchvision has none of these


@pytest.mark.parametrize("name", ["faster_rcnn_r50_fpn_ctc", "retinanet_r50_fpn_ctc"])
def test_torchvision_has_all_weights_of_resnet50(name):
    backbone_cfg = copy.deepcopy(load(FOLDERS[0] / f"{name}.py").model.backbone)
    backbone_cfg.init_cfg = None
    with torch.device("meta"):
        source = torchvision.models.resnet50(weights=None).state_dict()
    shapes = {key: value.shape for key, value in MODELS.build(backbone_cfg).state_dict().items()}
    assert all(source[key].shape == shape for key, shape in shapes.items())
    assert backbone_cfg.frozen_stages == -1  # the hook freezes, and sets free


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_trains_a_step_and_predicts(path):
    config = from_scratch(path)
    model = build(config, score_thr=0.0).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {name: value.detach().sum().item() for name, value in model.named_parameters()}
    losses = model.train_step(batch(side_px(config)), wrapper)
    assert all(bool(torch.isfinite(value).all()) for value in losses.values())
    assert losses["loss"] > 0
    after = {name: value.detach().sum().item() for name, value in model.named_parameters()}
    assert all(math.isfinite(value) for value in after.values())
    # Part by part: a residual block that starts at zero lets nothing through to its first layers in the first step.
    assert {name.split(".")[0] for name in after if after[name] != before[name]} == {n.split(".")[0] for n in after}

    model.eval()
    with torch.no_grad():
        found = [sample.pred_instances for sample in model.test_step(batch(side_px(config)))]
    for boxes in found:
        check_boxes(boxes, side_px(config), config)
    assert sum(len(boxes) for boxes in found) > 0


def check_boxes(found, side, config):
    assert len(found) <= 1000
    assert bool(torch.isfinite(found.bboxes).all())
    if not config.model.type.startswith("YOLO"):  # MMDetection lets these reach over the edge; counting cuts them
        assert bool(((found.bboxes >= 0) & (found.bboxes <= side)).all())
    assert bool((found.bboxes[:, 2:] >= found.bboxes[:, :2]).all())
    assert bool(((found.scores >= 0) & (found.scores <= 1)).all())
    assert bool((found.scores.diff() <= 0).all())
    assert set(found.labels.tolist()) <= set(range(config.num_classes))
    for label in range(config.num_classes):
        boxes = found.bboxes[found.labels == label][:50]
        overlaps = box_iou(boxes, boxes).fill_diagonal_(0)
        assert not len(boxes) or overlaps.nan_to_num().max() <= 0.45 + 1e-4


@pytest.mark.parametrize("name", ["faster_rcnn_r18_fpn", "efficientdet_d0"])
def test_learns_one_cell(name):
    """Through the stand-in's RoIAlign and back, and through BiFPN: the cell is found, the empty field stays empty."""
    config = from_scratch(FOLDERS[1] / f"{name}_bccd.py")
    model = build(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        data = model.data_preprocessor(batch(64), True)
        loss, _ = model.parse_losses(model.loss(data["inputs"], data["data_samples"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.train(False)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.train()  # two images say too little about running statistics
    with torch.no_grad():
        cell, empty = [sample.pred_instances for sample in model.test_step(batch(64))]
    assert cell.labels[0] == 0
    assert box_iou(cell.bboxes[:1], torch.tensor([CELL_XYXY])).item() > 0.6
    assert cell.scores[0] > 0.5
    assert not len(empty) or empty.scores.max() < cell.scores[0] / 2


def test_efficientdet_d0_has_the_papers_size():
    """Tan et al. 2020, Table 2: 3.9 M parameters with COCO's 90 classes, 2.5 billion multiply-adds at 512 px."""
    from mmengine.analysis import get_model_complexity_info

    config = copy.deepcopy(from_scratch(FOLDERS[0] / "efficientdet_d0_ctc.py"))
    config.model.bbox_head.num_classes = 90
    model = build(config).eval()
    with torch.no_grad():
        cost = get_model_complexity_info(
            model, inputs=(torch.zeros(1, 3, 512, 512),), show_table=False, show_arch=False
        )
    assert cost["params"] / 1e6 == pytest.approx(3.9, rel=0.02)
    assert cost["flops"] / 1e9 == pytest.approx(2.5, rel=0.05)
