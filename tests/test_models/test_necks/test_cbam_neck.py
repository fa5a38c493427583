import pytest
import torch

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS

CHANNELS = (16, 32, 16, 8, 8, 4)
SIZES = (19, 10, 5, 3, 2, 1)


def features(dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.randn(2, c, s, s, dtype=dtype) for c, s in zip(CHANNELS, SIZES, strict=True)]


def build(**kwargs):
    torch.manual_seed(0)
    neck = MODELS.build(dict(type="ctc_mm.CBAMNeck", in_channels=CHANNELS, **kwargs))
    neck.init_weights()
    return neck


def test_no_level_chosen_changes_nothing():
    x = features()
    assert all(a is b for a, b in zip(build(levels=())(x), x, strict=True))


def test_first_four_levels_are_weighted_and_the_rest_untouched():
    x, neck = features(), build()
    y = neck(x)
    for level in range(4):
        torch.testing.assert_close(y[level], neck.attentions[level](x[level]))
        assert not torch.equal(y[level], x[level])
    assert y[4] is x[4]
    assert y[5] is x[5]


def test_levels_may_be_any_in_any_order():
    x = features()
    y = build(levels=(5, 1))(x)
    changed = [i for i, (a, b) in enumerate(zip(x, y, strict=True)) if not torch.equal(a, b)]
    assert changed == [1, 5]


def test_inputs_are_not_changed():
    x = features()
    before = [level.clone() for level in x]
    build()(x)
    assert all(torch.equal(a, b) for a, b in zip(x, before, strict=True))


def test_channels_last_gives_the_same_values():
    x, neck = features(), build()
    y = neck([level.contiguous(memory_format=torch.channels_last) for level in x])
    for a, b in zip(neck(x), y, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_autocast_stays_near_full_precision():
    x, neck = features(), build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = neck(x)
    for a, b in zip(neck(x), y, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=0.05, atol=0.05)


def test_every_weight_learns():
    neck = build()
    sum(level.square().sum() for level in neck(features())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(levels=(0, 6)), r"\[6\] do not exist"),
        (dict(levels=(-1,)), r"\[-1\] do not exist"),
        (dict(levels=(1, 1)), "names a level twice"),
    ],
    ids=["beyond", "negative", "twice"],
)
def test_wrong_levels_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        build(**kwargs)


def test_other_channels_than_configured_are_named():
    with pytest.raises(ConfigError, match=r"in_channels=\[16, 32, 16, 8, 8, 4\].*\[16, 32\] channels arrive"):
        build()(features()[:2])


def test_unknown_key_is_refused():
    with pytest.raises(TypeError, match="reducton"):
        build(reducton=8)
