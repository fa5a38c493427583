import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from ctc_mm.models.necks import PoolFlatten


def test_map_of_the_wanted_size_is_only_flattened():
    features = torch.randn(2, 5, 7, 7)
    (flat,) = MODELS.build(dict(type="ctc_mm.PoolFlatten", output_size=7))((features,))
    assert torch.equal(flat, features.reshape(2, 5 * 49))


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_every_size_gives_one_length(side):
    features = torch.randn(2, 5, side, side + 1)
    (flat,) = PoolFlatten(3)((features,))
    assert flat.shape == (2, 45)
    # Averages of averages over the same windows: torch's own.
    assert torch.equal(flat, torch.nn.functional.adaptive_avg_pool2d(features, 3).flatten(1))


def test_each_level_is_flattened_and_dropout_acts_in_training_only():
    levels = (torch.ones(1, 4, 6, 6), torch.ones(1, 2, 3, 3))
    neck = PoolFlatten(3, dropout=0.5)
    assert [one.shape for one in neck.eval()(levels)] == [(1, 36), (1, 18)]
    assert all((one == 1).all() for one in neck(levels))
    torch.manual_seed(0)
    assert set(neck.train()(levels)[0].unique().tolist()) == {0.0, 2.0}
