import pytest
import torch

from ctc_mm.explain.cam import (
    fuse_maps,
    grad_cam,
    level_weights,
    multilevel_grad_cam,
    normalize_map,
    resample_map,
)


def test_grad_cam_equals_the_sum_by_hand():
    activation = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [0.0, 1.0]]])
    gradient = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[-2.0, -2.0], [0.0, 0.0]]])
    # alpha = (1, -1): [[1 - 5, 2 - 0], [3 - 0, 4 - 1]], negative parts cut.
    assert grad_cam(activation, gradient).tolist() == [[0.0, 2.0], [3.0, 3.0]]


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2, 2), (3, 2, 2)], ids=["no channels", "batch", "other channels"])
def test_grad_cam_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="one shape"):
        grad_cam(torch.zeros(shape), torch.zeros(2, 2, 2))


@pytest.mark.parametrize(
    ("cam", "expected"),
    [
        ([[0.0, 0.0]], [[0.0, 0.0]]),
        ([[7.0]], [[0.0]]),
        ([[5.0, 5.0 + 1e-6]], [[0.0, 0.0]]),
        ([[1.0, 3.0, 2.0]], [[0.0, 1.0, 0.5]]),
        ([[0.0, 1e-12]], [[0.0, 1.0]]),
    ],
    ids=["zero", "1x1", "rounding noise", "stretched", "small but real"],
)
def test_normalize_map(cam, expected):
    assert normalize_map(torch.tensor(cam)).tolist() == expected


def test_level_weights_of_ssd300_are_six_to_one():
    assert level_weights(6).tolist() == [6, 5, 4, 3, 2, 1]


def test_fuse_maps_is_the_weighted_mean():
    maps = torch.tensor([[[1.0, 0.0]], [[0.5, 1.0]]])
    fused = fuse_maps(maps, level_weights(2))
    torch.testing.assert_close(fused, torch.tensor([[2.5 / 3, 1 / 3]]))


def test_fuse_maps_refuses_a_wrong_number_of_weights():
    with pytest.raises(ValueError, match="one value a level"):
        fuse_maps(torch.zeros(3, 2, 2), level_weights(2))


def test_resample_map_cuts_the_padding_before_it_scales():
    cam = torch.zeros(4, 8)
    cam[:, 4:] = 1  # the right half of the input is padding: its heat must not enter the image
    cam[:, 0] = 0.5
    resampled = resample_map(cam, input_hw=(4, 8), valid_hw=(4, 4), original_hw=(2, 2))
    torch.testing.assert_close(resampled, torch.tensor([[0.25, 0.0], [0.25, 0.0]]))


def test_resample_map_keeps_place_and_height_of_a_peak():
    cam = torch.zeros(5, 5)
    cam[3, 1] = 1
    resampled = resample_map(cam, (50, 50), (50, 50), (100, 150))
    row, column = divmod(int(resampled.argmax()), 150)
    assert abs(row - 70) <= 1
    assert abs(column - 45) <= 2
    assert 0.9 < float(resampled.max()) <= 1.0


def test_one_backward_pass_equals_one_a_level():
    generator = torch.Generator().manual_seed(0)
    levels = [torch.rand(1, 3, size, size, generator=generator).requires_grad_() for size in (4, 2)]
    unused = torch.rand(1, 3, 2, 2, generator=generator).requires_grad_()
    weights = torch.nn.Parameter(torch.rand(3, generator=generator))

    def score():
        return sum((weights[:, None, None] * level[0] ** 2).sum() for level in levels)

    together = multilevel_grad_cam(score(), [*levels, unused])
    for cam, level in zip(together, levels, strict=False):
        alone = torch.autograd.grad(score(), level)[0][0]
        torch.testing.assert_close(cam, normalize_map(grad_cam(level.detach()[0], alone)))
        assert float(cam.max()) == 1
    assert together[2].tolist() == [[0, 0], [0, 0]]
    assert all(tensor.grad is None for tensor in (weights, unused, *levels))
