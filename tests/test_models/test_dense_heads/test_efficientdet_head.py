import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS

ANCHORS, CLASSES, WIDTH = 3, 2, 6
TRAIN_CFG = dict(
    assigner=dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0, ignore_iof_thr=0.5),
    allowed_border=-1, pos_weight=-1, debug=False,
)  # fmt: skip
TEST_CFG = dict(nms_pre=100, nms=dict(type="nms", iou_threshold=0.45), min_bbox_size=0, score_thr=0.02, max_per_img=50)
HEAD = dict(
    type="ctc_mm.EfficientDetHead", num_classes=CLASSES, in_channels=4, feat_channels=WIDTH, stacked_convs=2,
    anchor_generator=dict(type="mmdet.AnchorGenerator", scales=[2], ratios=[0.5, 1.0, 2.0], strides=[8, 16]),
    bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
    loss_cls=dict(type="mmdet.FocalLoss", use_sigmoid=True, gamma=1.5, alpha=0.25),
    loss_bbox=dict(type="mmdet.SmoothL1Loss", beta=0.1),
)  # fmt: skip
META = dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=(1.0, 1.0), ori_shape=(64, 64))


def build(**options):
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(copy.deepcopy({**HEAD, **options}), train_cfg=TRAIN_CFG, test_cfg=TEST_CFG))
    head.init_weights()
    return head


def features(batch=2, channels=4):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, channels, size, size, generator=generator) for size in (8, 4))


def truth(*boxes_xyxy):
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).view(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))


def test_images_without_cells_have_a_finite_loss_that_falls():
    head = build()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    values = []
    for _ in range(8):
        losses = head.loss_by_feat(*head(features()), [truth(), truth()], [META] * 2)
        loss = sum(losses["loss_cls"]) + sum(losses["loss_bbox"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0]
    assert sum(losses["loss_bbox"]).item() == 0
    assert len(head.predict_by_feat(*head(features()), batch_img_metas=[dict(META)] * 2)) == 2


def separable(x, module):
    depthwise, pointwise = module.depthwise_conv.conv, module.pointwise_conv.conv
    x = F.conv2d(x, depthwise.weight, depthwise.bias, padding=1, groups=x.shape[1])
    return F.conv2d(x, pointwise.weight, pointwise.bias)


@torch.no_grad()
def test_levels_share_convolutions_and_have_norms_of_their_own():
    head = build().eval()
    generator = torch.Generator().manual_seed(3)
    for net in (head.class_net, head.box_net):
        for norm in net.norms.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.copy_(torch.randn(WIDTH, generator=generator))
                norm.running_var.copy_(torch.rand(WIDTH, generator=generator) + 0.5)
    scores, deltas = head(features())
    for net, outputs in ((head.class_net, scores), (head.box_net, deltas)):
        for level, x in enumerate(features()):
            for index, conv in enumerate(net.convs):
                norm = net.norms[level][index]
                x = separable(x, conv)
                x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-3).sqrt()
                x = x * x.sigmoid()
            torch.testing.assert_close(outputs[level], separable(x, net.predict), rtol=1e-4, atol=1e-6)


def test_parameters_are_counted_once_for_all_levels():
    def of(part):
        return sum(value.numel() for value in part.parameters())

    net = build().class_net
    assert of(net.convs) == (9 * 4 + 4 * WIDTH) + (9 * WIDTH + WIDTH * WIDTH)
    assert of(net.norms) == 2 * 2 * (2 * WIDTH)  # levels x convolutions x (weight, bias)
    assert of(net.predict) == (9 + 1) * WIDTH + (WIDTH + 1) * ANCHORS * CLASSES
    norms = [norm for level in net.norms for norm in level]
    assert len({id(norm) for norm in norms}) == 4


def test_statistics_of_one_level_stay_out_of_the_other():
    head = build().train()
    near, far = features()
    head((near * 0, far * 100))
    before = [level[0].running_var.clone() for level in head.class_net.norms]
    assert before[0].max() < 1 < before[1].max()


def test_a_new_head_calls_one_anchor_in_a_hundred_a_cell():
    scores, deltas = build().eval()(features())
    probability = torch.cat([level.sigmoid().flatten() for level in scores])
    assert abs(probability.mean().item() - 0.01) < 0.002
    assert torch.cat([level.flatten() for level in deltas]).abs().max() < 0.5
    assert [tuple(level.shape) for level in scores] == [(2, ANCHORS * CLASSES, side, side) for side in (8, 4)]
    assert [tuple(level.shape) for level in deltas] == [(2, ANCHORS * 4, side, side) for side in (8, 4)]


def test_it_finds_the_cell_it_has_learnt():
    head, cell = build(), truth([12.0, 8.0, 28.0, 24.0])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(60):
        losses = head.loss_by_feat(*head(features(1)), [cell], [META])
        optimizer.zero_grad()
        (sum(losses["loss_cls"]) + sum(losses["loss_bbox"])).backward()
        optimizer.step()
    found = head.predict_by_feat(*head(features(1)), batch_img_metas=[META], rescale=False)[0]
    assert found.labels[0] == 0
    assert found.scores[0] > 0.3
    torch.testing.assert_close(found.bboxes[0], cell.bboxes[0], rtol=0, atol=2.0)


def test_without_hidden_convolutions_it_predicts_from_the_features():
    head = build(stacked_convs=0).eval()
    scores, _ = head(features())
    torch.testing.assert_close(scores[0], separable(features()[0], head.class_net.predict), rtol=1e-4, atol=1e-6)


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="stacked_convs must be 0 or more; received -1"):
        build(stacked_convs=-1)
    with pytest.raises(ConfigError, match="feat_channels must be at least 1; received 0"):
        build(feat_channels=0)
    uneven = dict(type="mmdet.SSDAnchorGenerator", scale_major=False, strides=[8, 16], ratios=[[2], [2, 3]],
                  min_sizes=[16, 32], max_sizes=[32, 60])  # fmt: skip
    with pytest.raises(ConfigError, match=r"each needs the same number of anchors; .* gives \[4, 6\]"):
        build(anchor_generator=uneven)
    with pytest.raises(ConfigError, match="1 levels arrive, but the anchor generator has 2 strides"):
        build()(features()[:1])
