"""The stand-in's sigmoid focal loss beside MMDetection's plain Python one, on every device."""

import mmcv._ext
import pytest
import torch
from mmcv.ops import sigmoid_focal_loss
from mmdet.models.losses import FocalLoss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

from ctc_mm.compat.mmcv_ext import StandIn

pytestmark = pytest.mark.skipif(
    not isinstance(mmcv._ext, StandIn), reason="mmcv has compiled ops here, the stand-in is not in use"
)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]
CLASSES = 3


def logits_and_targets(count, device, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(count)
    logits = (torch.randn(count, CLASSES, generator=generator) * scale).to(device, dtype)
    targets = torch.randint(0, CLASSES + 1, (count,), generator=generator).to(device)  # CLASSES is background
    return logits.requires_grad_(), targets


def plain(logits, targets, gamma, alpha, reduction="none"):
    one_hot = torch.nn.functional.one_hot(targets, CLASSES + 1)[:, :CLASSES]
    return py_sigmoid_focal_loss(logits, one_hot, gamma=gamma, alpha=alpha, reduction=reduction)


def value_and_gradient(loss_of, logits):
    logits = logits.detach().clone().requires_grad_()
    loss = loss_of(logits)
    # Unequal weights: a gradient that is only right in sum would show.
    weights = torch.arange(1, loss.numel() + 1, device=loss.device, dtype=loss.dtype).view(loss.shape) / loss.numel()
    return loss.detach(), torch.autograd.grad((loss * weights).sum(), logits)[0]


@pytest.mark.parametrize("device", DEVICES)
def test_no_sample(device):
    logits, targets = logits_and_targets(0, device)
    loss = sigmoid_focal_loss(logits, targets, 2.0, 0.25, None, "none")
    loss.sum().backward()
    assert tuple(loss.shape) == tuple(logits.grad.shape) == (0, CLASSES)
    assert loss.device.type == device


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.25), (0.0, 0.5), (0.5, 0.75)], ids=str)
def test_values_and_gradients(device, gamma, alpha):
    logits, targets = logits_and_targets(500, device)
    assert set(targets.tolist()) == set(range(CLASSES + 1))
    ours = value_and_gradient(lambda x: sigmoid_focal_loss(x, targets, gamma, alpha, None, "none"), logits)
    expected = value_and_gradient(lambda x: plain(x, targets, gamma, alpha), logits)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert ours[0].max() > 0.5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions(device, reduction):
    logits, targets = logits_and_targets(64, device)
    ours = sigmoid_focal_loss(logits, targets, 2.0, 0.25, None, reduction)
    # mmcv's mean is over samples, the plain function's over logits.
    expected = plain(logits, targets, 2.0, 0.25, reduction) * (CLASSES if reduction == "mean" else 1)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_focal_loss_of_a_detector_is_the_plain_one(device):
    """On CUDA MMDetection's ``FocalLoss`` calls the op, on the CPU the plain function: one value, one gradient."""
    logits, targets = logits_and_targets(200, device)
    weight = torch.rand(200, generator=torch.Generator().manual_seed(9)).to(device)
    layer = FocalLoss(use_sigmoid=True, gamma=2.0, alpha=0.25)
    loss = layer(logits, targets, weight, avg_factor=17)
    expected_logits = logits.detach().clone().requires_grad_()
    expected = (plain(expected_logits, targets, 2.0, 0.25) * weight[:, None]).sum() / 17
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad, expected_logits.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_once(device, dtype):
    logits, targets = logits_and_targets(100, device, dtype=dtype)
    loss = sigmoid_focal_loss(logits, targets, 2.0, 0.25, None, "none")
    assert loss.dtype == dtype
    expected = plain(logits.detach().float(), targets, 2.0, 0.25)
    torch.testing.assert_close(loss.float(), expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-4)
