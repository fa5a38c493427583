import pytest
import torch

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS

CHANNELS = (16, 32, 16, 8, 8, 4)
SIZES = (38, 19, 10, 5, 3, 1)


def features(sizes=SIZES, channels=CHANNELS):
    torch.manual_seed(0)
    return [torch.randn(2, c, s, s) for c, s in zip(channels, sizes, strict=True)]


def build(channels=CHANNELS, **kwargs):
    torch.manual_seed(0)
    neck = MODELS.build(dict(type="ctc_mm.TransposedConvFusionNeck", in_channels=channels, **kwargs))
    neck.init_weights()
    return neck


def test_no_level_chosen_changes_nothing():
    x = features()
    assert all(a is b for a, b in zip(build(levels=())(x), x, strict=True))


def test_first_three_levels_fuse_the_inputs_and_the_rest_is_untouched():
    x, neck = features(), build()
    y = neck(x)
    for level in range(3):
        block = neck.fusions[level]
        high = torch.nn.functional.conv_transpose2d(
            x[level + 1], block.deconv.weight, block.deconv.bias, stride=2, padding=1,
            output_padding=x[level].shape[-1] - (2 * x[level + 1].shape[-1] - 1),
        )  # fmt: skip
        expected = torch.nn.functional.conv2d(
            torch.cat([x[level], high], 1), block.fuse.conv.weight, block.fuse.conv.bias
        )
        torch.testing.assert_close(y[level], expected)
    assert all(y[level] is x[level] for level in (3, 4, 5))


def test_not_cascaded_by_default():
    """P1 depends on C1 and C2 alone; cascaded, on C4 too."""
    x = features()
    for cascade, reaches in ((False, False), (True, True)):
        inputs = [level.clone().requires_grad_() for level in x]
        build(cascade=cascade)(inputs)[0].sum().backward()
        assert (inputs[3].grad is not None and bool(inputs[3].grad.abs().sum() > 0)) == reaches
        assert inputs[1].grad.abs().sum() > 0


@pytest.mark.parametrize(
    "sizes",
    [(38, 19), (19, 10), (10, 5), (5, 3), (3, 1), (7, 2), (4, 4), (1, 1), (20, 3)],
    ids=str,
)
def test_any_two_sizes_meet(sizes):
    neck = build(channels=(6, 4), levels=(0,))
    x = features(sizes, (6, 4))
    y = neck(x)
    assert y[0].shape == x[0].shape
    assert torch.isfinite(y[0]).all()
    assert y[1] is x[1]


def test_oblong_maps_of_odd_sides():
    y = build(channels=(6, 4), levels=(0,))([torch.randn(1, 6, 19, 25), torch.randn(1, 4, 10, 13)])
    assert y[0].shape == (1, 6, 19, 25)


def test_recovered_channels_default_to_half_of_the_finer_level():
    assert [block.deconv.out_channels for block in build().fusions] == [8, 16, 8]
    assert [block.deconv.out_channels for block in build(deconv_channels=(3, 4, 5)).fusions] == [3, 4, 5]


def test_channels_last_and_autocast():
    x, neck = features(), build()
    y = neck([level.contiguous(memory_format=torch.channels_last) for level in x])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = neck(x)
    for a, b, c in zip(neck(x), y, z, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, c.float(), rtol=0.1, atol=0.1)


def test_norm_follows_the_fusion():
    neck = build(norm_cfg=dict(type="BN"), act_cfg=dict(type="ReLU"))
    assert neck(features())[0].min() >= 0
    assert neck.fusions[0].fuse.with_norm


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(levels=(5,)), r"\[5\] do not exist"),
        (dict(deconv_channels=(3,)), r"one number for each of the fused levels \[0, 1, 2\]"),
    ],
    ids=["coarsest", "deconv_channels"],
)
def test_wrong_settings_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        build(**kwargs)


def test_chain_of_necks_as_in_the_config():
    channels = (512, 1024, 512, 256, 256, 256)
    chain = MODELS.build(
        [
            dict(type="mmdet.SSDNeck", in_channels=(512, 1024), out_channels=channels, level_strides=(2, 2, 1, 1),
                 level_paddings=(1, 1, 0, 0), l2_norm_scale=20),
            dict(type="ctc_mm.CBAMNeck", in_channels=channels),
            dict(type="ctc_mm.TransposedConvFusionNeck", in_channels=channels),
        ]
    )  # fmt: skip
    y = chain((torch.randn(1, 512, 38, 38), torch.randn(1, 1024, 19, 19)))
    assert [tuple(level.shape[1:]) for level in y] == [
        (512, 38, 38), (1024, 19, 19), (512, 10, 10), (256, 5, 5), (256, 3, 3), (256, 1, 1)
    ]  # fmt: skip
