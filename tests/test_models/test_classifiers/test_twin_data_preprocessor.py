import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from ctc_mm.errors import ConfigError

pytestmark = pytest.mark.usefixtures("mmpretrain_scope")

SCALE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture
def twin():
    return MODELS.build(dict(type="ctc_mm.TwinDataPreprocessor", **SCALE))


@pytest.fixture
def ordinary():
    return MODELS.build(dict(type="ClsDataPreprocessor", **SCALE))


def grey(planes, count=2):
    return torch.rand(count, planes, 5, 6, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("as_list", [True, False])
def test_one_channel_is_the_ordinary_rgb_image(twin, ordinary, as_list):
    images = grey(1)
    rgb = images.expand(-1, 3, -1, -1)
    expected = ordinary(dict(inputs=list(rgb) if as_list else rgb))["inputs"]
    for inputs in (images, rgb):
        got = twin(dict(inputs=list(inputs) if as_list else inputs))["inputs"]
        assert got.shape == (2, 3, 5, 6)
        assert torch.equal(got, expected)


@pytest.mark.parametrize("as_list", [True, False])
def test_two_channels_are_two_ordinary_images(twin, ordinary, as_list):
    images = grey(2)
    got = twin(dict(inputs=list(images) if as_list else images))["inputs"]
    assert got.shape == (2, 2, 3, 5, 6)
    for place in (0, 1):
        alone = images[:, place : place + 1].expand(-1, 3, -1, -1)
        assert torch.equal(got[:, place], ordinary(dict(inputs=alone))["inputs"])


def test_other_numbers_of_planes_are_refused(twin):
    with pytest.raises(ConfigError, match="Received: 4 planes; choose the data set's `channels`"):
        twin(dict(inputs=list(grey(4))))


def test_empty_batch(twin):
    assert twin(dict(inputs=grey(2, count=0)))["inputs"].shape == (0, 2, 3, 5, 6)
