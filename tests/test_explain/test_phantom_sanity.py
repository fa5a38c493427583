"""After a short training on synthetic fields the map lies on the cells; before it, it does not."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from ctc_mm.explain.detection_cam import explain_detection
from ctc_mm.explain.sanity import inside_outside_ratio
from ctc_mm.phantoms.brightfield import generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig

SIDE_PX = 128
FIELDS = BrightfieldPhantomConfig(
    image_wh=(SIDE_PX, SIDE_PX), ctc_count=(1, 3), wbc_count=(1, 3), debris_count=(1, 4), blank_fraction=0
)
NORM = dict(type="BN")


def draw_items(count, rng):
    """Items of a pipeline with their truth: 160x160 px fields, CTCs and white blood cells."""
    items = []
    for _ in range(count):
        field = generate_field(FIELDS, rng)
        shape = (SIDE_PX, SIDE_PX)
        sample = DetDataSample(metainfo=dict(ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(field.boxes_xyxy), labels=torch.from_numpy(field.labels)
        )
        items.append(dict(inputs=torch.from_numpy(np.repeat(field.image[None], 3, axis=0)), data_samples=sample))
    return items


def build_light_detector():
    """An SSDLite-like detector of two levels, small enough to learn the phantom in seconds."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    head = dict(
        type="ctc_mm.CTCSSDHead",
        num_classes=2,
        in_channels=(32, 32),
        use_depthwise=True,
        norm_cfg=NORM,
        act_cfg=dict(type="ReLU6"),
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            scale_major=False,
            strides=[8, 16],
            ratios=[[2], [2]],
            min_sizes=[12, 24],
            max_sizes=[24, 44],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
    )
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0, gt_max_assign_all=False)
    config = ConfigDict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[150.0] * 3, std=[40.0] * 3),
        backbone=dict(
            type="ResNet",
            depth=18,
            base_channels=16,
            stem_channels=16,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(1, 2),
            norm_eval=False,
        ),
        neck=dict(
            type="ChannelMapper",
            in_channels=[32, 64],
            out_channels=32,
            kernel_size=3,
            norm_cfg=NORM,
            act_cfg=dict(type="ReLU"),
        ),
        bbox_head=head,
        train_cfg=dict(
            assigner=assigner, sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1, neg_pos_ratio=3
        ),
        test_cfg=dict(nms_pre=1000, nms=dict(type="nms", iou_threshold=0.45), score_thr=0.02, max_per_img=50),
    )
    model = MODELS.build(config)
    model.init_weights()
    return model


def train(model, items, iterations, rng):
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    model.train()
    for _ in range(iterations):
        chosen = [items[index] for index in rng.choice(len(items), 8, replace=False)]
        batch = {key: [item[key] for item in chosen] for key in ("inputs", "data_samples")}
        batch = model.data_preprocessor(batch, training=True)
        loss = sum(model.loss(batch["inputs"], batch["data_samples"]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.fixture(scope="module")
def experiment():
    """The model before and after training, and fields that neither has seen."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    rng = np.random.default_rng(0)
    seen, unseen = draw_items(64, rng), draw_items(16, rng)
    untrained, trained = build_light_detector(), build_light_detector()
    train(trained, seen, 200, rng)
    yield untrained, trained, unseen
    torch.set_num_threads(threads)


def median_ratio(pairs):
    return float(np.nanmedian([inside_outside_ratio(result.fused, boxes) for result, boxes in pairs]))


@pytest.mark.parametrize("label", [None, 0, 1], ids=["both classes", "CTC", "WBC"])
def test_trained_map_lies_on_the_explained_boxes_and_an_untrained_one_does_not(experiment, label):
    untrained, trained, fields = experiment
    after = [explain_detection(trained, field, score_thr=0.5, label=label) for field in fields]
    after = [result for result in after if result.explained.any()]
    assert len(after) >= 6  # with none of its boxes in a field, a class has no ratio there
    # Without training nothing reaches 0.5; all its boxes are explained, so that it has a map at all.
    before = [explain_detection(untrained, field, score_thr=0.0) for field in fields]
    assert sum(result.fused.max() > 0 for result in before) >= 12
    explained = [result.boxes_xyxy[result.explained] for result in after]
    trained_ratio = median_ratio(zip(after, explained, strict=True))
    assert trained_ratio >= 3
    own_boxes = [result.boxes_xyxy[result.explained] for result in before]
    assert median_ratio(zip(before, own_boxes, strict=True)) < trained_ratio / 3
    true_boxes = [field["data_samples"].gt_instances.bboxes.numpy() for field in fields]
    assert median_ratio(zip(before, true_boxes, strict=True)) < trained_ratio / 3


def test_explained_boxes_are_cells(experiment):
    """The model has learned something: most of what it keeps is a cell."""
    _, trained, fields = experiment
    hits = kept = 0
    for field in fields:
        result = explain_detection(trained, field, score_thr=0.5)
        centres = (result.boxes_xyxy[:, :2] + result.boxes_xyxy[:, 2:]) / 2
        for x, y in centres:
            truth = field["data_samples"].gt_instances.bboxes.numpy()
            inside = (truth[:, 0] <= x) & (x < truth[:, 2]) & (truth[:, 1] <= y) & (y < truth[:, 3])
            hits += bool(inside.any())
            kept += 1
    assert kept >= 20
    assert hits / kept > 0.7
