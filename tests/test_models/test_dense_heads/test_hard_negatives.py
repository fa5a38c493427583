import pytest
import torch

from ctc_mm.models.dense_heads.hard_negatives import mine_over_batch, mine_per_image

F, T = False, True


def masks(positives, priors=10):
    """Positive priors first, the others mineable."""
    positive = torch.zeros(len(positives), priors, dtype=torch.bool)
    for row, count in zip(positive, positives, strict=True):
        row[:count] = True
    return positive, ~positive


@pytest.mark.parametrize("mine", [mine_over_batch, mine_per_image])
def test_nothing_to_mine(mine):
    positive, mineable = masks([10])
    assert not mine(torch.rand(1, 10), positive, mineable, 1.2, 100).any()


@pytest.mark.parametrize(
    ("positives", "ratio", "expected"),
    [
        ([5], 1.2, 5),  # min(6, 5 left)
        ([5, 0], 1.2, 5),
        ([3, 2], 1.2, 6),  # int(3.6 + 2.4)
        ([1, 1], 1.2, 2),  # int(2.4): rounded once over the batch
        ([3, 3], 3.0, 14),  # min(9, 7) twice
    ],
    ids=str,
)
def test_number_over_the_batch(positives, ratio, expected):
    """Reading 2: int(sum_i min(ratio * positives_i, boxes - positives_i))."""
    positive, mineable = masks(positives)
    chosen = mine_over_batch(torch.rand(len(positives), 10), positive, mineable, ratio, 100)
    assert int(chosen.sum()) == expected
    assert not (chosen & positive).any()


def test_hardest_of_the_batch_come_from_anywhere():
    positive = torch.tensor([[T, F, F, F], [F, F, F, F]])
    losses = torch.tensor([[9.0, 0.1, 0.2, 0.3], [0.4, 0.9, 0.5, 0.8]])
    chosen = mine_over_batch(losses, positive, ~positive, 2.0, 100)
    assert chosen.tolist() == [[F, F, F, F], [F, T, F, T]]


def test_blank_batch_takes_the_hardest_hundred_or_all():
    losses = torch.arange(300.0).view(2, 150)
    positive, mineable = torch.zeros(2, 150, dtype=torch.bool), torch.ones(2, 150, dtype=torch.bool)
    chosen = mine_over_batch(losses, positive, mineable, 1.2, 100)
    assert chosen.flatten().nonzero().flatten().tolist() == list(range(200, 300))
    assert int(mine_over_batch(losses, positive, mineable, 1.2, 1000).sum()) == 300


def test_per_image_counts_each_image_alone():
    positive, mineable = masks([1, 3, 0])
    chosen = mine_per_image(torch.rand(3, 10), positive, mineable, 1.2, 4)
    assert chosen.sum(1).tolist() == [1, 3, 4]


@pytest.mark.parametrize("mine", [mine_over_batch, mine_per_image])
def test_what_is_not_mineable_is_never_chosen(mine):
    positive, mineable = masks([2, 0])
    mineable[:, 5:] = False
    losses = torch.ones(2, 10)
    losses[:, 5:] = 100
    assert not mine(losses, positive, mineable, 3.0, 100)[:, 5:].any()
