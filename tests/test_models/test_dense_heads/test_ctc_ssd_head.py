import copy

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS

TRAIN_CFG = dict(
    assigner=dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0,
                  ignore_iof_thr=-1, gt_max_assign_all=False),
    sampler=dict(type="mmdet.PseudoSampler"),
    smoothl1_beta=1.0, allowed_border=-1, pos_weight=-1, neg_pos_ratio=1.2, debug=False,
)  # fmt: skip
TEST_CFG = dict(
    nms_pre=1000, nms=dict(type="nms", iou_threshold=0.45), min_bbox_size=0, score_thr=0.02, max_per_img=200
)
HEAD = dict(
    type="ctc_mm.CTCSSDHead", num_classes=2, in_channels=(4, 4),
    anchor_generator=dict(type="mmdet.SSDAnchorGenerator", scale_major=False, strides=[16, 32], ratios=[[2], [2]],
                          min_sizes=[16, 32], max_sizes=[32, 60]),
    bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
)  # fmt: skip
META = dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=(1.0, 1.0), ori_shape=(64, 64))


def build(**train_cfg):
    torch.manual_seed(0)
    head = MODELS.build(
        ConfigDict(copy.deepcopy(HEAD), train_cfg={**TRAIN_CFG, **train_cfg}, test_cfg=copy.deepcopy(TEST_CFG))
    )
    head.init_weights()
    return head


def features(batch=2):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, 4, size, size, generator=generator) for size in (4, 2))


def truth(*boxes_xyxy, labels=None):
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).view(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.long))


def losses_of(head, truths, ignored=None, x=None):
    x = features(len(truths)) if x is None else x
    return head.loss_by_feat(*head(x), truths, [META] * len(truths), ignored)


def reference_loss(head, truths, ratio):
    """Eq. 7 prior by prior, with reading 2's mining, in plain Python."""
    cls_scores, bbox_preds = head(features(len(truths)))
    priors = torch.cat(head.prior_generator.grid_priors([s.shape[-2:] for s in cls_scores], device="cpu"))
    background, positives, negatives, box_losses, wanted, norm = head.num_classes, [], [], [], 0.0, 0
    for n, gt in enumerate(truths):
        logits = torch.cat([s[n].permute(1, 2, 0).reshape(-1, background + 1) for s in cls_scores])
        deltas = torch.cat([b[n].permute(1, 2, 0).reshape(-1, 4) for b in bbox_preds])
        log_probability = logits.log_softmax(1)
        assigned = [-1] * len(priors)
        if len(gt):
            overlaps = bbox_overlaps(gt.bboxes, priors)
            for p in range(len(priors)):
                if overlaps[:, p].max() >= 0.5:
                    assigned[p] = int(overlaps[:, p].argmax())
            for g in range(len(gt)):
                assigned[int(overlaps[g].argmax())] = g
        count = 0
        for p, g in enumerate(assigned):
            if g < 0:
                negatives.append(-log_probability[p, background])
                continue
            count += 1
            positives.append(-log_probability[p, gt.labels[g]])
            target = head.bbox_coder.encode(priors[p : p + 1], gt.bboxes[g : g + 1])[0]
            for difference in (deltas[p] - target).abs():
                box_losses.append(0.5 * difference**2 if difference < 1 else difference - 0.5)
        wanted += min(ratio * count, len(priors) - count)
        norm += max(count, 1)
    wanted = int(wanted) if positives else min(100, len(negatives))
    hardest = sorted(negatives, reverse=True)[:wanted]
    return (sum(positives) + sum(hardest)) / norm, (sum(box_losses) + torch.zeros(())) / norm


def test_blank_batch_teaches_background_and_no_box():
    head = build()
    losses = losses_of(head, [truth(), truth()])
    expected_cls, _ = reference_loss(head, [truth(), truth()], 1.2)
    torch.testing.assert_close(losses["loss_cls"], expected_cls)
    assert losses["loss_bbox"] == 0
    (losses["loss_cls"] + losses["loss_bbox"]).backward()
    gradients = [p.grad for p in head.parameters()]
    assert all(g is not None for g in gradients)  # every weight takes part: DDP waits for all of them
    assert any(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("ratio", [1.2, 3, 0.5])
@pytest.mark.parametrize(
    "truths",
    [
        [truth((2, 3, 20, 22))],
        [truth((2, 3, 20, 22), (30, 30, 62, 60), labels=[0, 1]), truth((10, 10, 40, 44), labels=[1])],
        [truth((2, 3, 20, 22)), truth()],
        [truth((-10, -10, 70, 70)), truth((0, 0, 1, 1))],
    ],
    ids=["one", "two_images", "with_blank", "huge_and_tiny"],
)
def test_loss_equals_equation_7(truths, ratio):
    head = build(neg_pos_ratio=ratio)
    losses = losses_of(head, truths)
    expected_cls, expected_box = reference_loss(head, truths, ratio)
    torch.testing.assert_close(losses["loss_cls"], expected_cls)
    torch.testing.assert_close(losses["loss_bbox"], expected_box)


def test_ratio_counts_negatives():
    """With equal logits every prior costs ln 3: the loss tells how many were mined."""
    for ratio, mined in ((1.2, 2), (3.0, 6)):
        head = build(neg_pos_ratio=ratio)
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)
        loss = losses_of(head, [truth((0, 0, 16, 16)), truth((40, 40, 56, 56))])["loss_cls"]
        torch.testing.assert_close(loss, torch.tensor(3.0).log() * (2 + mined) / 2)


@pytest.mark.parametrize("assigner_thr", [-1, 0.5], ids=["assigner_counts_them", "assigner_ignores_them"])
@pytest.mark.parametrize("mining", ["batch", "image"])
def test_ignore_region_is_neither_lost_nor_mined(assigner_thr, mining):
    """Whatever the network says of priors inside an ignore region, the loss stays; without the region it rises."""
    head = build(mining=mining, assigner={**TRAIN_CFG["assigner"], "ignore_iof_thr": assigner_thr})
    region = InstanceData(bboxes=torch.tensor([[32.0, 32.0, 80.0, 80.0]]))
    cls_scores, bbox_preds = head(features(1))
    shouting = [cls_scores[0].clone(), cls_scores[1]]
    shouting[0][0, ::3, 3, 3] += 50  # class 0 at all priors of the finest cell around (56, 56), all inside the region

    def loss_cls(scores, ignored):
        return head.loss_by_feat(scores, bbox_preds, [truth((0, 0, 16, 16))], [META], ignored)["loss_cls"]

    torch.testing.assert_close(loss_cls(shouting, [region]), loss_cls(cls_scores, [region]))
    assert loss_cls(shouting, None) > loss_cls(cls_scores, None) + 10


def test_ignoring_everything_leaves_the_positives_alone():
    head = build()
    everything = InstanceData(bboxes=torch.tensor([[-500.0, -500.0, 600.0, 600.0]]))
    losses = losses_of(head, [truth((0, 0, 16, 16))], [everything])
    only_positives, boxes = reference_loss(head, [truth((0, 0, 16, 16))], 0.0)
    torch.testing.assert_close(losses["loss_cls"], only_positives)
    torch.testing.assert_close(losses["loss_bbox"], boxes)


def test_predict_returns_the_boxes_that_the_logits_say():
    """MMDetection's SSDHead raises AttributeError here."""
    head = build().eval()
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    cls_scores, bbox_preds = head(features(1))
    cls_scores[1][0, 2::3] = 4.0  # background everywhere ...
    cls_scores[0][0, 2::3] = 4.0
    cls_scores[0][0, 0, 1, 2] = 9.0  # ... but class 0 at the first prior of cell (row 1, column 2)
    result = head.predict_by_feat(cls_scores, bbox_preds, batch_img_metas=[META], rescale=False)[0]
    prior = head.prior_generator.grid_priors([(4, 4), (2, 2)], device="cpu")[0][(1 * 4 + 2) * 4]
    best = result.scores.argmax()
    torch.testing.assert_close(result.bboxes[best], prior)
    torch.testing.assert_close(result.scores[best], torch.tensor([9.0, 0.0, 4.0]).softmax(0)[0])
    assert result.labels[best] == 0


def test_autocast_gives_full_precision_losses():
    head = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(head, [truth((2, 3, 20, 22))])
    exact = losses_of(head, [truth((2, 3, 20, 22))])
    for name in exact:
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], exact[name], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("train_cfg", "message"),
    [
        (dict(neg_pos_ratio=0), "neg_pos_ratio must be above 0; received 0.0"),
        (dict(blank_negatives=-1), "blank_negatives must be 0 or more"),
        (dict(ignore_iof_thr=1.0), r"ignore_iof_thr must be in \[0, 1\)"),
        (dict(mining="slide"), r"mining must be one of \['all', 'batch', 'image'\]; received 'slide'"),
        (dict(mining=["batch"]), r"mining must be one of .*; received \['batch'\]"),
        (dict(neg_pos_ratio=float("nan")), r"neg_pos_ratio must be a number; received nan"),
        (dict(blank_negatives=float("inf")), r"blank_negatives must be a number; received inf"),
        (dict(smoothl1_beta=-1), r"smoothl1_beta must be 0 or more; received -1\.0"),
        (dict(neg_pos_ration=2), r"unknown keys \['neg_pos_ration'\]"),
        (dict(neg_pos_ratio="1,2"), r"train_cfg\.neg_pos_ratio must be a number; received '1,2'"),
    ],
)
def test_wrong_settings_are_named(train_cfg, message):
    with pytest.raises(ConfigError, match=message):
        build(**train_cfg)
