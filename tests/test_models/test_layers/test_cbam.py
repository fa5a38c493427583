import pytest
import torch

from ctc_mm.models.layers import CBAM


def reference_cbam(x, cbam):
    """CBAM written out from Woo 2018, Eq. 1-3, with explicit loops."""
    first, _, second = cbam.channel_attention.mlp
    out = torch.empty_like(x)
    for n in range(len(x)):
        average = torch.stack([channel.mean() for channel in x[n]])
        maximum = torch.stack([channel.max() for channel in x[n]])
        w1, w2 = first.weight[:, :, 0, 0], second.weight[:, :, 0, 0]
        channel_weight = torch.sigmoid(w2 @ torch.relu(w1 @ average) + w2 @ torch.relu(w1 @ maximum))
        weighted = x[n] * channel_weight[:, None, None]
        pooled = torch.stack([weighted.mean(0), weighted.max(0).values])
        spatial = torch.nn.functional.conv2d(pooled[None], cbam.spatial_attention.conv.weight, padding=3)
        out[n] = weighted * torch.sigmoid(spatial)[0]
    return out


def test_empty_batch_gives_an_empty_batch():
    assert CBAM(8)(torch.zeros(0, 8, 5, 7)).shape == (0, 8, 5, 7)


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (38, 38)], ids=str)
def test_equals_the_equations(size):
    torch.manual_seed(0)
    cbam, x = CBAM(32, reduction=16), torch.randn(2, 32, *size)
    torch.testing.assert_close(cbam(x), reference_cbam(x, cbam))


def test_zero_weights_give_half_by_each_attention():
    cbam = CBAM(4)
    for parameter in cbam.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(cbam(x), x / 4)


def test_few_channels_keep_one_hidden_unit():
    assert CBAM(3, reduction=16).channel_attention.mlp[0].out_channels == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(channels=0), "channels >= 1"),
        (dict(channels=8, reduction=0), "reduction >= 1"),
        (dict(channels=8, kernel_size=4), "odd kernel_size.*received 4"),
    ],
    ids=["channels", "reduction", "kernel"],
)
def test_wrong_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CBAM(**arguments)
