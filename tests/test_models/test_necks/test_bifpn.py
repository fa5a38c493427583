import pytest
import torch
import torch.nn.functional as F

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS

CHANNELS = (4, 6, 10)
WIDTH = 8
BATCH_NORM_EPS, FUSION_EPS = 1e-3, 1e-4


def features(size=(40, 40), channels=CHANNELS, batch=2):
    generator = torch.Generator().manual_seed(1)
    maps = []
    for width in channels:
        maps.append(torch.randn(batch, width, *size, generator=generator))
        size = [(side + 1) // 2 for side in size]
    return maps


def build(in_channels=CHANNELS, **options):
    torch.manual_seed(0)
    neck = MODELS.build({"type": "ctc_mm.BiFPN", "in_channels": in_channels, "out_channels": WIDTH, **options})
    neck.init_weights()
    return neck


def scramble(neck):
    """Weights, statistics and fusion as they could be after training; one fusion parameter is negative."""
    generator = torch.Generator().manual_seed(2)
    for name, value in (*neck.named_parameters(), *neck.named_buffers()):
        if name.endswith("fusion_weights"):
            value.data.copy_(torch.rand(value.shape, generator=generator) * 2 - 0.3)
        elif name.endswith(("bn.weight", "running_var")):
            value.data.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith(("bn.bias", "running_mean")):
            value.data.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return neck.eval()


def normed(x, norm):
    scale = norm.weight / torch.sqrt(norm.running_var + BATCH_NORM_EPS)
    return x * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]


def node(module, *inputs):
    """Sections 3.2 and 3.3 of the paper, operation by operation."""
    weights = [max(0.0, value) for value in module.fusion_weights.tolist()]
    fused = sum(w * x for w, x in zip(weights, inputs, strict=True)) / (FUSION_EPS + sum(weights))
    depthwise, pointwise = module.conv.depthwise_conv.conv, module.conv.pointwise_conv
    out = F.conv2d(F.conv2d(fused, depthwise.weight, padding=1, groups=WIDTH), pointwise.conv.weight)
    out = normed(out, pointwise.bn)
    return out * out.sigmoid()


def up(x, like):
    rows = [min(int(i * x.shape[2] / like.shape[2]), x.shape[2] - 1) for i in range(like.shape[2])]
    columns = [min(int(i * x.shape[3] / like.shape[3]), x.shape[3] - 1) for i in range(like.shape[3])]
    return x[:, :, rows][:, :, :, columns]


def down(x):
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    return padded.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))


@pytest.mark.parametrize("size", [(40, 40), (38, 38), (25, 33)], ids=str)
@torch.no_grad()
def test_two_layers_equal_the_papers_equations(size):
    neck, inputs = scramble(build(num_outs=5, num_layers=2)), features(size)
    assert any((layer.top_down[i].fusion_weights < 0).any() for layer in neck.layers for i in range(4))

    p = [normed(F.conv2d(x, entry.conv.weight), entry.bn) for x, entry in zip(inputs, neck.entries, strict=False)]
    p6 = down(normed(F.conv2d(inputs[2], neck.entries[3].conv.weight), neck.entries[3].bn))
    levels = [*p, p6, down(p6)]
    for layer in neck.layers:
        p3, p4, p5, p6, p7 = levels
        p6_td = node(layer.top_down[3], p6, up(p7, p6))
        p5_td = node(layer.top_down[2], p5, up(p6_td, p5))
        p4_td = node(layer.top_down[1], p4, up(p5_td, p4))
        p3_out = node(layer.top_down[0], p3, up(p4_td, p3))
        p4_out = node(layer.bottom_up[0], p4, p4_td, down(p3_out))
        p5_out = node(layer.bottom_up[1], p5, p5_td, down(p4_out))
        p6_out = node(layer.bottom_up[2], p6, p6_td, down(p5_out))
        levels = [p3_out, p4_out, p5_out, p6_out, node(layer.bottom_up[3], p7, down(p6_out))]

    outputs = neck(inputs)
    assert len(outputs) == 5
    for output, expected in zip(outputs, levels, strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


def test_fusion_weights_are_normalised():
    fusion = build(num_outs=3).layers[0].bottom_up[0]
    torch.testing.assert_close(fusion.normalised_weights(), torch.full((3,), 1 / (3 + FUSION_EPS)))
    fusion.fusion_weights.data = torch.tensor([3.0, -5.0, 1.0])
    torch.testing.assert_close(fusion.normalised_weights(), torch.tensor([3.0, 0.0, 1.0]) / (4 + FUSION_EPS))
    fusion.fusion_weights.data = torch.tensor([-1.0, -1.0, 0.0])
    assert fusion.normalised_weights().tolist() == [0, 0, 0]


def test_every_weight_learns_and_every_input_reaches_every_level():
    neck = build(num_outs=4, num_layers=1).train()
    for level in range(4):
        inputs = [x.requires_grad_() for x in features((24, 24))]
        neck(inputs)[level].square().sum().backward()
        assert all(x.grad.abs().sum() > 0 for x in inputs)
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in neck.parameters())


def test_no_image_in_the_batch():
    outputs = build(num_outs=4, num_layers=1).eval()(features((8, 8), batch=0))
    assert [tuple(x.shape) for x in outputs] == [(0, WIDTH, side, side) for side in (8, 4, 2, 1)]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (75, 38)], ids=str)
def test_any_size_keeps_its_sizes(size):
    inputs = features(size, batch=1)
    outputs = build(num_layers=1).eval()(inputs)
    assert [x.shape[-2:] for x in outputs[:3]] == [x.shape[-2:] for x in inputs]


def test_levels_of_the_right_width_enter_as_they_are():
    neck = build(in_channels=(WIDTH, WIDTH), num_outs=2, num_layers=1)
    assert [sum(value.numel() for value in entry.parameters()) for entry in neck.entries] == [0, 0]
    assert len(build(in_channels=(4, 6), num_outs=3).entries) == 3


def test_channels_last_gives_the_same():
    neck, inputs = scramble(build(num_layers=2)), features((20, 20))
    with torch.no_grad():
        expected = neck(inputs)
        outputs = neck.to(memory_format=torch.channels_last)(
            [x.contiguous(memory_format=torch.channels_last) for x in inputs]
        )
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-4, atol=1e-5)


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="num_outs=2, but 3 levels arrive"):
        build(num_outs=2)
    with pytest.raises(ConfigError, match="two are the least"):
        build(in_channels=(4,), num_outs=1)
    with pytest.raises(ConfigError, match="num_layers must be at least 1; received 0"):
        build(num_layers=0)
    for options in (dict(in_channels=()), dict(in_channels=(4, 0, 10)), dict(out_channels=0)):
        with pytest.raises(ConfigError, match="BiFPN: in_channels lists the channels of each level"):
            build(**options)
    for eps in (0, -1e-4, float("nan")):
        with pytest.raises(ConfigError, match=f"eps must be above 0.*received {eps}"):
            build(eps=eps)


def test_wrong_inputs_are_named():
    neck = build(num_layers=1)
    with pytest.raises(ConfigError, match=r"in_channels=\[4, 6, 10\] in the config, but levels of \[4, 6\]"):
        neck(features(channels=(4, 6)))
    inputs = features((40, 40))
    with pytest.raises(ConfigError, match=r"each must be half the one before, rounded up"):
        neck([inputs[0], inputs[1][:, :, :-1], inputs[2]])
