"""What a prior's class costs, and the options of the SSD head that the paper does not have."""

import copy
import math

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from test_ctc_ssd_head import HEAD, META, TEST_CFG, TRAIN_CFG, build, features, losses_of, truth
from torch.nn.functional import cross_entropy

from ctc_mm.errors import ConfigError
from ctc_mm.models.dense_heads.hard_negatives import take_all
from ctc_mm.models.dense_heads.prior_losses import class_losses
from ctc_mm.registry import MODELS

TRUTHS = [truth((2, 3, 20, 22), (30, 30, 62, 60), labels=[0, 1]), truth((10, 10, 40, 44), labels=[1])]
GIOU = dict(type="mmdet.GIoULoss", loss_weight=2.0)


def build_giou(**train_cfg):
    torch.manual_seed(0)
    cfg = dict(copy.deepcopy(HEAD), loss_bbox=GIOU, train_cfg={**TRAIN_CFG, **train_cfg}, test_cfg=TEST_CFG)
    head = MODELS.build(ConfigDict(cfg))
    head.init_weights()
    return head


def assigned(head, truths):
    """Positive priors with their cells and the boxes that the head gives them, by image."""
    cls_scores, bbox_preds = head(features(len(truths)))
    priors = torch.cat(head.prior_generator.grid_priors([s.shape[-2:] for s in cls_scores], device="cpu"))
    rows = []
    for n, gt in enumerate(truths):
        logits = torch.cat([s[n].permute(1, 2, 0).reshape(-1, head.num_classes + 1) for s in cls_scores])
        deltas = torch.cat([b[n].permute(1, 2, 0).reshape(-1, 4) for b in bbox_preds])
        overlaps = bbox_overlaps(gt.bboxes, priors)
        cells = {p: int(overlaps[:, p].argmax()) for p in range(len(priors)) if overlaps[:, p].max() >= 0.5}
        cells |= {int(overlaps[g].argmax()): g for g in range(len(gt))}
        for p, g in cells.items():
            box = head.bbox_coder.decode(priors[p : p + 1], deltas[p : p + 1])[0]
            rows.append((logits[p], int(gt.labels[g]), box, gt.bboxes[g]))
    return rows


def giou(one, other):
    """Rezatofighi et al. 2019, algorithm 1, in plain numbers."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.tolist(), other.tolist()
    shared = max(0.0, min(a1, c1) - max(a0, c0)) * max(0.0, min(b1, d1) - max(b0, d0))
    union = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared
    hull = (max(a1, c1) - min(a0, c0)) * (max(b1, d1) - min(b0, d0))
    return shared / union - (hull - union) / hull


def test_no_priors_cost_nothing():
    assert class_losses(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_without_options_it_is_cross_entropy():
    logits, labels = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4
    torch.testing.assert_close(class_losses(logits, labels), cross_entropy(logits, labels, reduction="none"))


def test_quality_moves_the_target_of_positives_towards_background():
    logits = torch.tensor([[2.0, 0.5, -1.0], [2.0, 0.5, -1.0]])
    labels, quality = torch.tensor([0, 2]), torch.tensor([0.7, 0.7])
    log_p = logits[0].log_softmax(0)
    expected = torch.stack([-(0.7 * log_p[0] + 0.3 * log_p[2]), -log_p[2]])  # background keeps its target
    torch.testing.assert_close(class_losses(logits, labels, quality), expected)


def test_loss_of_soft_target_is_least_where_the_score_is_the_quality():
    logits = torch.tensor([[0.0, -30.0, 0.0]], requires_grad=True)
    quality = torch.tensor([0.8])
    at = {}
    for score in (0.6, 0.7, 0.8, 0.9):
        value = torch.tensor([[math.log(score / (1 - score)), -30.0, 0.0]])
        at[score] = float(class_losses(value, torch.tensor([0]), quality))
    assert min(at, key=at.get) == 0.8
    class_losses(logits, torch.tensor([0]), quality).sum().backward()
    torch.testing.assert_close(logits.grad[0], torch.tensor([0.5 - 0.8, 0.0, 0.5 - 0.2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_focal_weight(gamma):
    logits = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])
    p = logits.softmax(1)
    expected = torch.stack([-((1 - p[0, 0]) ** gamma) * p[0, 0].log(), -((1 - p[1, 1]) ** gamma) * p[1, 1].log()])
    torch.testing.assert_close(class_losses(logits, torch.tensor([0, 1]), focal_gamma=gamma), expected)


def test_giou_loss_is_that_of_the_decoded_boxes():
    head = build_giou()
    rows = assigned(head, TRUTHS)
    expected = 2.0 * sum(1 - giou(box, cell) for _, _, box, cell in rows) / len(rows)
    assert losses_of(head, TRUTHS)["loss_bbox"].item() == pytest.approx(expected, rel=1e-4)
    # The classes' loss does not change by it.
    torch.testing.assert_close(losses_of(head, TRUTHS)["loss_cls"], losses_of(build(), TRUTHS)["loss_cls"])


def test_giou_of_a_blank_batch_is_nothing_and_every_weight_takes_part():
    head = build_giou()
    losses = losses_of(head, [truth(), truth()])
    assert losses["loss_bbox"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("make", [build, build_giou], ids=["smooth_l1", "giou"])
def test_quality_targets_are_the_overlaps_of_the_predicted_boxes(make):
    plain, head = make(), make(quality_targets=True)
    rows = assigned(head, TRUTHS)
    change = 0.0
    for logits, label, box, cell in rows:
        log_p, iou = logits.log_softmax(0), float(bbox_overlaps(box[None], cell[None])[0, 0])
        assert 0 < iou < 1
        change += ((1 - iou) * (log_p[label] - log_p[-1])).item()
    before, after = losses_of(plain, TRUTHS), losses_of(head, TRUTHS)
    assert (after["loss_cls"] - before["loss_cls"]).item() == pytest.approx(change / len(rows), abs=1e-5)
    torch.testing.assert_close(after["loss_bbox"], before["loss_bbox"])


def test_quality_sends_no_gradient_into_the_boxes():
    head = build(quality_targets=True)
    losses_of(head, TRUTHS)["loss_cls"].backward()
    assert all(parameter.grad is None for parameter in head.reg_convs.parameters())


def test_all_negatives_count_without_mining():
    head = build(mining="all", focal_gamma=0.0)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    priors = sum(n * s * s for n, s in zip(head.num_base_priors, (4, 2), strict=True))
    positives = len(assigned(head, [truth((0, 0, 16, 16))]))
    loss = losses_of(head, [truth((0, 0, 16, 16))])["loss_cls"]  # each prior costs ln 3
    torch.testing.assert_close(loss, torch.tensor(3.0).log() * priors / positives)


def test_without_mining_background_begins_likely():
    scores, _ = build(mining="all")(tuple(torch.zeros(1, 4, size, size) for size in (4, 2)))
    probabilities = scores[0][0].permute(1, 2, 0).reshape(-1, 3).softmax(1)
    torch.testing.assert_close(probabilities[:, :2].sum(1), torch.full((len(probabilities),), 0.01))
    torch.testing.assert_close(probabilities[:, 0], probabilities[:, 1])


def test_take_all_leaves_out_what_is_not_mineable():
    positive = torch.tensor([[True, False, False]])
    mineable = torch.tensor([[False, True, False]])
    assert take_all(torch.ones(1, 3), positive, mineable, 1.2, 0).tolist() == [[False, True, False]]


def test_ignore_region_holds_without_mining_too():
    head = build(mining="all", focal_gamma=2.0)
    region = copy.copy(truth((32.0, 32.0, 80.0, 80.0)))
    cls_scores, bbox_preds = head(features(1))
    shouting = [cls_scores[0].clone(), cls_scores[1]]
    shouting[0][0, ::3, 3, 3] += 50

    def loss_cls(scores, ignored):
        return head.loss_by_feat(scores, bbox_preds, [truth((0, 0, 16, 16))], [META], ignored)["loss_cls"]

    torch.testing.assert_close(loss_cls(shouting, [region]), loss_cls(cls_scores, [region]))
    assert loss_cls(shouting, None) > loss_cls(cls_scores, None) + 10


@pytest.mark.parametrize(
    ("train_cfg", "message"),
    [
        (dict(focal_gamma=-1), "focal_gamma must be 0 or more; received -1.0"),
        (dict(focal_gamma="2"), r"train_cfg\.focal_gamma must be a number; received '2'"),
        (dict(quality_targets=0.5), r"quality_targets must be True or False; received 0\.5"),
    ],
    ids=["gamma", "text", "quality"],
)
def test_wrong_options_are_named(train_cfg, message):
    with pytest.raises(ConfigError, match=message):
        build(**train_cfg)
