"""The stand-in's ops, called as users call them: through mmcv's own Python wrappers."""

import mmcv._ext
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import RoIAlign, SigmoidFocalLoss, SoftmaxFocalLoss, batched_nms, nms, sigmoid_focal_loss
from torch.autograd import gradcheck

from ctc_mm.compat import ops
from ctc_mm.compat.mmcv_ext import StandIn
from ctc_mm.errors import MissingOpError

pytestmark = pytest.mark.skipif(
    not isinstance(mmcv._ext, StandIn), reason="mmcv has compiled ops here, the stand-in is not in use"
)


def reference_nms(boxes_xyxy, scores, iou_threshold, offset):
    """Greedy NMS as the textbook has it, one pair after the other, in float32."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    threshold, offset, kept = np.float32(iou_threshold), np.float32(offset), []
    while order:
        first, order = order[0], order[1:]
        kept.append(first)
        order = [other for other in order if not _iou(boxes_xyxy[first], boxes_xyxy[other], offset) > threshold]
    return kept


def _iou(a, b, offset):
    width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + offset)
    intersection = width * height
    area_a, area_b = ((box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return intersection / (area_a + area_b - intersection)


def _scattered(rng, count):
    corners = rng.uniform(0, 20, (count, 2))
    return np.hstack([corners, corners + rng.uniform(5, 25, (count, 2))]), rng.uniform(0, 1, count)


def _tied(rng, count):
    corners = rng.integers(0, 4, (count, 2))
    return np.hstack([corners, corners + rng.integers(1, 5, (count, 2))]), rng.integers(0, 4, count) / 4


def _degenerate(rng, count):
    boxes = rng.integers(0, 4, (count, 4))  # many without width or height, many inside out
    boxes[::2, 2:] = boxes[::2, :2] + rng.integers(0, 4, (len(boxes[::2]), 2))
    return boxes, rng.integers(0, 6, count) / 6


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("draw", [_scattered, _tied, _degenerate], ids=["scattered", "tied", "degenerate"])
def test_nms_equals_the_reference_on_random_sets(draw, offset):
    rng = np.random.default_rng([offset, len(draw.__name__)])
    removed = 0
    for repeat in range(336):  # 1,008 sets an offset; 21 counts x 8 thresholds, twice
        boxes, scores = (array.astype(np.float32) for array in draw(rng, count=repeat % 21))
        threshold = (0.0, 0.1, 0.3, 0.45, 0.5, 0.6, 0.7, 1.0)[repeat % 8]
        _, kept = nms(torch.from_numpy(boxes).reshape(-1, 4), torch.from_numpy(scores), threshold, offset)
        assert kept.tolist() == reference_nms(boxes, scores, threshold, offset), (repeat, boxes, scores, threshold)
        removed += len(boxes) - len(kept)
    assert removed > 100  # the boxes do overlap


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_of_nothing_and_of_one_box(offset):
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, offset)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64

    dets, kept = nms(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([0.9]), 0.5, offset)
    torch.testing.assert_close(dets, torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.9]]))
    assert kept.tolist() == [0]


def test_nms_offset_decides_on_touching_pixels():
    # Half-open boxes that touch share nothing; as closed pixels they share a column: 2 of 3 px.
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 2.0, 0.0]]), torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.3, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.3, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.6, 0.7])
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_keeps_an_iou_equal_to_the_threshold(threshold, offset):
    # The float32 nearest to the IoU may lie above or below the threshold's decimal.
    height = round(100 * threshold) - offset
    boxes = torch.tensor([[0, 0, 10 - offset, 100 - offset], [0, 0, 10 - offset, height]]).float()
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold, offset)[1].tolist() == [0, 1]
    boxes[1, 3] += 1
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold, offset)[1].tolist() == [0]


def test_nms_keeps_equal_boxes_without_area():
    assert nms(torch.full((3, 4), 2.0), torch.tensor([0.1, 0.3, 0.2]), 0.5)[1].tolist() == [1, 2, 0]


def test_nms_visits_equal_scores_by_index():
    boxes = torch.arange(64).float()[:, None] * 10 + torch.tensor([0.0, 0.0, 5.0, 5.0])
    assert nms(boxes, torch.full((64,), 0.5), 0.5)[1].tolist() == list(range(64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_of_other_float_types(dtype, offset):
    rng = np.random.default_rng(3)
    boxes, scores = (torch.from_numpy(array).to(dtype) for array in _scattered(rng, 20))
    dets, kept = nms(boxes, scores, 0.3, offset)
    assert dets.dtype == dtype
    assert kept.tolist() == reference_nms(boxes.float().numpy(), scores.float().numpy(), 0.3, offset)


def test_nms_of_numpy_arrays_score_threshold_and_maximum():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float32)
    scores = np.array([0.1, 0.4, 0.3, 0.2], np.float32)
    dets, kept = nms(boxes, scores, 0.5, score_threshold=0.15, max_num=2)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == [1, 2]
    np.testing.assert_array_equal(dets, np.hstack([boxes[[1, 2]], scores[[1, 2], None]]))


@pytest.mark.parametrize("split_thr", [10000, 1], ids=["at once", "class by class"])
def test_batched_nms_suppresses_within_a_class_only(split_thr):
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 8.0]])
    scores, labels = torch.tensor([0.7, 0.9, 0.8]), torch.tensor([0, 1, 0])
    dets, kept = batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5, "split_thr": split_thr})
    assert kept.tolist() == [1, 2]
    torch.testing.assert_close(dets, torch.cat([boxes[[1, 2]], scores[[1, 2], None]], dim=1))
    _, kept = batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5}, class_agnostic=True)
    assert kept.tolist() == [1]


def test_roi_align_of_a_ramp_gives_the_bins_centres():
    ramp_yx = torch.arange(16.0)[:, None] * 100 + torch.arange(16.0)[None]  # value = 100 y + x at pixel centres
    rois = torch.tensor([[0.0, 2.0, 4.0, 6.0, 8.0]])
    pooled = RoIAlign(output_size=2, sampling_ratio=2, aligned=True)(ramp_yx[None, None], rois)
    centres = [[100 * y + x for x in (2.5, 4.5)] for y in (4.5, 6.5)]  # 3, 5 and 5, 7 less half a pixel
    torch.testing.assert_close(pooled, torch.tensor([[centres]]))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_equals_torchvision(aligned, sampling_ratio):
    from torchvision.ops import roi_align

    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(2, 3, 9, 11, generator=generator)
    corners = torch.rand(6, 2, generator=generator) * 20
    rois = torch.cat([torch.tensor([[0.0, 1.0] * 3]).T, corners, corners + 15], dim=1)
    ours = RoIAlign((4, 5), 0.25, sampling_ratio, aligned=aligned)(feature, rois)
    assert torch.equal(ours, roi_align(feature, rois, (4, 5), 0.25, sampling_ratio, aligned))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_gradient(aligned, sampling_ratio):
    feature = torch.randn(2, 2, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rois = torch.tensor([[0, 1.0, 2.0, 9.0, 11.0], [1, 0.0, 0.0, 5.0, 12.5]], dtype=torch.float64)
    layer = RoIAlign((3, 2), 0.5, sampling_ratio, aligned=aligned)
    assert gradcheck(lambda values: layer(values, rois), feature.requires_grad_())


def test_roi_align_without_rois_and_in_half_precision():
    layer = RoIAlign(2, sampling_ratio=2)
    feature = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3)).requires_grad_()
    pooled = layer(feature, torch.zeros(0, 5))
    assert pooled.shape == (0, 3, 2, 2)
    pooled.sum().backward()
    assert torch.equal(feature.grad, torch.zeros_like(feature))

    rois = torch.tensor([[0.0, 1.0, 1.0, 6.0, 6.0]])
    half = feature.detach().half().requires_grad_()
    pooled = layer(half, rois.half())
    assert pooled.dtype == torch.float16
    torch.testing.assert_close(pooled.float(), layer(half.detach().float(), rois), atol=2e-3, rtol=2e-3)
    pooled.sum().backward()
    assert half.grad.sum().item() == pytest.approx(3 * 4, rel=1e-2)  # each bin hands out a gradient of 1


def test_roi_align_with_max_pooling_names_the_cure():
    with pytest.raises(MissingOpError, match=r"`roi_align` has no max pooling.*pool_mode='avg'.*pip install"):
        RoIAlign(2, pool_mode="max")(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5))


TARGET = torch.tensor([0, 2, 3, 1])  # 3: background


def _logits(scale=3.0, dtype=torch.float64):
    return (torch.randn(4, 3, generator=torch.Generator().manual_seed(4)) * scale).to(dtype)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["usual logits", "extreme logits"])
def test_sigmoid_focal_loss_equals_torchvision(gamma, scale):
    from torchvision.ops import sigmoid_focal_loss as torchvision_loss

    ours, theirs = (_logits(scale).requires_grad_() for _ in range(2))
    loss = sigmoid_focal_loss(ours, TARGET, gamma, 0.25, None, "none")
    one_hot = F.one_hot(TARGET, 4)[:, :3].double()
    expected = torchvision_loss(theirs, one_hot, alpha=0.25, gamma=gamma, reduction="none")
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    if gamma != 0.5 or scale == 1.0:  # torchvision's own gradient is nan where p rounds to 0 or 1 and gamma < 1
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.isfinite(ours.grad).all()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)])
def test_sigmoid_focal_loss_gradient(reduction, weight):
    assert gradcheck(
        lambda logits: sigmoid_focal_loss(logits, TARGET, 2.0, 0.25, weight, reduction), _logits().requires_grad_()
    )


def test_sigmoid_focal_loss_weighs_classes_and_leaves_background_at_one():
    plain = sigmoid_focal_loss(_logits(), TARGET, 2.0, 0.25, None, "none")
    weighted = sigmoid_focal_loss(_logits(), TARGET, 2.0, 0.25, torch.tensor([2.0, 3.0, 5.0]).double(), "none")
    torch.testing.assert_close(weighted / plain, torch.tensor([2.0, 5.0, 1.0, 3.0]).double()[:, None].expand(4, 3))


def test_sigmoid_focal_loss_equals_mmdets_own():
    from mmdet.models.losses import FocalLoss

    logits = _logits(dtype=torch.float32)
    expected = FocalLoss(use_sigmoid=True, gamma=2.0, alpha=0.25, reduction="sum")(logits, TARGET)
    torch.testing.assert_close(SigmoidFocalLoss(2.0, 0.25, reduction="sum")(logits, TARGET), expected)


def _softmax_focal(logits, target, gamma, alpha, weight):
    """The definition, differentiable by autograd: -alpha w (1 - p)^gamma log p, 0 for negative targets."""
    log_p = logits.log_softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    loss = -alpha * weight[target.clamp(min=0)] * (1 - log_p.exp()) ** gamma * log_p
    return torch.where(target >= 0, loss, torch.zeros_like(loss))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_softmax_focal_loss_equals_its_definition(gamma):
    target, weight = torch.tensor([0, 2, -1, 1]), torch.tensor([1.0, 2.0, 3.0]).double()
    ours, theirs = (_logits().requires_grad_() for _ in range(2))
    loss = SoftmaxFocalLoss(gamma, 0.25, weight, "mean")(ours, target)
    expected = _softmax_focal(theirs, target, gamma, 0.25, weight).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_focal_loss_gradient(reduction):
    layer = SoftmaxFocalLoss(2.0, 0.25, reduction=reduction)
    assert gradcheck(lambda logits: layer(logits, torch.tensor([0, 2, 2, 1])), _logits().requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_softmax_focal_loss_of_certain_predictions_is_finite(gamma):
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    loss = SoftmaxFocalLoss(gamma, 1.0, reduction="sum")(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(-np.log(ops.FLT_MIN))  # right: 0; wrong: as far as float32 goes
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [1.0, -1.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer_type", [SigmoidFocalLoss, SoftmaxFocalLoss])
def test_focal_losses_in_half_precision(layer_type, dtype):
    target = torch.tensor([0, 2, 2, 1])
    logits = _logits(dtype=dtype).requires_grad_()
    exact = logits.detach().float().requires_grad_()
    layer = layer_type(2.0, 0.25, reduction="sum")
    loss, expected = layer(logits, target), layer(exact, target)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.float(), expected, rtol=2e-2, atol=1e-2)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad.float(), exact.grad, rtol=5e-2, atol=1e-2)


@pytest.mark.parametrize("call", [nms, None], ids=["nms", "focal loss"])
def test_ops_leave_their_input_alone(call):
    values, target = torch.rand(4, 4, generator=torch.Generator().manual_seed(5)), torch.tensor([0, 1, 2, 3])
    before = values.clone()
    if call is nms:
        nms(values, values[:, 0], 0.5, offset=1)
    else:
        sigmoid_focal_loss(values, target)
    assert torch.equal(values, before)
