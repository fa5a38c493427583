import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from ctc_mm.models.backbones import ImFISHCNN

FIRST = 32 * (5 * 5 * 3 + 1)
SECOND = 64 * (5 * 5 * 32 + 1)
THIRD = 128 * (5 * 5 * 64 + 1)


@pytest.mark.parametrize("side", [224, 64, 35])
def test_three_layers_halve_the_image(side):
    network = MODELS.build(dict(type="ctc_mm.ImFISHCNN"))
    with torch.no_grad():
        (features,) = network(torch.zeros(2, 3, side, side))
    assert features.shape == (2, 128, side // 8, side // 8)


def test_parameters_are_those_of_three_5x5_convolutions():
    assert sum(one.numel() for one in ImFISHCNN().parameters()) == FIRST + SECOND + THIRD == 258624
    grey = ImFISHCNN(in_channels=1)
    assert sum(one.numel() for one in grey.parameters()) == FIRST - 2 * 800 + SECOND + THIRD


def test_norm_adds_two_parameters_a_channel():
    network = ImFISHCNN(norm_cfg=dict(type="BN"))
    # The convolutions' bias goes: BatchNorm has one.
    assert sum(one.numel() for one in network.parameters()) == 258624 + 2 * 224 - 224


def test_initialisation_is_seeded():
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        network = ImFISHCNN()
        network.init_weights()
        outputs.append(network(torch.ones(1, 3, 16, 16))[0])
    assert torch.equal(*outputs)
    assert outputs[0].abs().sum() > 0


@pytest.mark.parametrize("options", [dict(channels=()), dict(kernel_size=4)])
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match="at least one layer and `kernel_size` is odd. Received"):
        ImFISHCNN(**options)
