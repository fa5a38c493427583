"""Geometry proven by drawing, noise by its mean and variance, light by its range."""

import numpy as np
import pytest

from ctc_mm.imaging.augment import (
    add_photon_noise,
    add_read_noise,
    defocus_image,
    elastic_displacement,
    geometry_matrix,
    smooth_field,
    warp_image,
)

SHAPE = (61, 75)


def dot_image(x, y, sd=1.5, shape=SHAPE):
    """A bright dot with its centre at (x, y)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (200 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sd**2))).astype(np.float32)


def centroid_xy(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 2, 2)])
def test_what_is_no_image_is_refused(shape):
    image = np.zeros(shape, np.float32)
    for function in (
        lambda: warp_image(image, np.eye(3)),
        lambda: add_read_noise(image, 1, np.random.default_rng(0)),
        lambda: add_photon_noise(image, 1, np.random.default_rng(0)),
        lambda: defocus_image(image, 1),
    ):
        with pytest.raises(ValueError, match=r"must be \(H, W\) or \(H, W, C\) with pixels; received shape"):
            function()


MOVES = [
    dict(rotate_deg=30),
    dict(rotate_deg=-137, scale=0.8),
    dict(shear_xy_deg=(20, 0)),
    dict(shear_xy_deg=(0, -15)),
    dict(scale=1.3),
    dict(shift_xy_px=(4.5, -7.25)),
    dict(mirror=True, rotate_deg=12, shift_xy_px=(3, 2)),
    dict(flip=True, shear_xy_deg=(10, 0), rotate_deg=77, scale=0.9),
]


@pytest.mark.parametrize("interpolation", ["cubic", "linear"])
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_a_dot_moves_where_the_matrix_says(move, interpolation):
    matrix = geometry_matrix(SHAPE, **move)
    x, y = 44.0, 25.0
    expected = (matrix @ (x, y, 1))[:2]
    moved = warp_image(dot_image(x, y), matrix, interpolation=interpolation)
    assert moved.dtype == np.float32
    assert moved.shape == SHAPE
    np.testing.assert_allclose(centroid_xy(np.where(moved > 20, moved, 0)), expected, atol=0.15)


def test_directions_are_those_of_the_docstring():
    centre_x, centre_y = 37.0, 30.0
    right = np.array([centre_x + 10, centre_y, 1])
    np.testing.assert_allclose(geometry_matrix(SHAPE, rotate_deg=90) @ right, [centre_x, centre_y - 10, 1], atol=1e-9)
    np.testing.assert_allclose(geometry_matrix(SHAPE, scale=1.5) @ right, [centre_x + 15, centre_y, 1])
    below = np.array([centre_x, centre_y + 10, 1])
    np.testing.assert_allclose(
        geometry_matrix(SHAPE, shear_xy_deg=(45, 0)) @ below, [centre_x + 10, centre_y + 10, 1], atol=1e-9
    )
    np.testing.assert_allclose(
        geometry_matrix(SHAPE, shear_xy_deg=(0, 45)) @ right, [centre_x + 10, centre_y + 10, 1], atol=1e-9
    )
    np.testing.assert_allclose(geometry_matrix(SHAPE, shift_xy_px=(2, -3)) @ right, [centre_x + 12, centre_y - 3, 1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (8, 5), (8, 5, 7)])
def test_flips_are_exact(shape):
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    np.testing.assert_array_equal(warp_image(image, geometry_matrix(shape[:2], mirror=True)), image[:, ::-1])
    np.testing.assert_array_equal(warp_image(image, geometry_matrix(shape[:2], flip=True)), image[::-1])
    both = warp_image(image, geometry_matrix(shape[:2], mirror=True, flip=True))
    np.testing.assert_array_equal(both, image[::-1, ::-1])
    same = warp_image(image, np.eye(3))
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


def test_a_quarter_turn_of_a_square_is_that_of_numpy():
    image = np.random.default_rng(0).uniform(0, 255, (9, 9, 2)).astype(np.float32)
    turned = warp_image(image, geometry_matrix((9, 9), rotate_deg=90))
    np.testing.assert_allclose(turned, np.rot90(image), atol=0.01)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 9])
def test_any_number_of_channels_moves_alike(channels):
    image = np.random.default_rng(0).uniform(0, 255, (20, 17, channels)).astype(np.float32)
    matrix = geometry_matrix((20, 17), rotate_deg=33, shear_xy_deg=(5, 0))
    moved = warp_image(image, matrix)
    assert moved.shape == image.shape
    for index in range(channels):
        np.testing.assert_array_equal(moved[..., index], warp_image(image[..., index], matrix))


@pytest.mark.parametrize("move", [dict(rotate_deg=45), dict(shift_xy_px=(200, 90)), dict(scale=0.2)], ids=str)
def test_no_corner_turns_black(move):
    """A reflected border holds values of the image only: a constant one stays constant."""
    assert np.ptp(warp_image(np.full(SHAPE, 130, np.float32), geometry_matrix(SHAPE, **move))) < 1e-3
    stripes = np.random.default_rng(0).uniform(100, 150, SHAPE).astype(np.float32)
    moved = warp_image(stripes, geometry_matrix(SHAPE, **move), interpolation="linear")
    assert moved.min() >= 100
    assert moved.max() <= 150


def test_elastic_displacement_moves_as_far_as_asked_and_smoothly():
    field = elastic_displacement((64, 80), 3.0, 8.0, np.random.default_rng(0))
    assert field.shape == (64, 80, 2)
    assert np.hypot(field[..., 0], field[..., 1]).max() == pytest.approx(3, rel=1e-5)
    # Neighbours go together: over a pixel the displacement changes by a small part of itself.
    assert np.abs(np.diff(field, axis=0)).max() < 0.6
    assert np.abs(np.diff(field, axis=1)).max() < 0.6
    image = dot_image(40, 30, shape=(64, 80))
    moved = warp_image(image, np.eye(3), field)
    # Each new pixel is looked up at its place plus the displacement there, so the dot moves the other way.
    np.testing.assert_allclose(centroid_xy(moved), [40, 30] - field[30, 40], atol=0.5)
    assert elastic_displacement((1, 1), 3.0, 1.0, np.random.default_rng(0)).shape == (1, 1, 2)


@pytest.mark.parametrize("direction_deg", [0, 45, 90, 200])
def test_a_slope_of_light_rises_in_its_direction_by_one(direction_deg):
    direction = np.deg2rad(direction_deg)
    field = smooth_field((40, 40), direction)
    assert field.dtype == np.float32
    assert np.ptp(field) == pytest.approx(1, abs=1e-5)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    slope = np.array([np.diff(field, axis=1).mean(), np.diff(field, axis=0).mean()])
    np.testing.assert_allclose(slope / np.linalg.norm(slope), [np.cos(direction), np.sin(direction)], atol=1e-3)
    np.testing.assert_allclose(np.diff(field, n=2, axis=0), 0, atol=1e-5)


def test_a_bent_field_is_smooth_and_as_strong():
    field = smooth_field((50, 30), 1.0, bend=1.0, centre_yx=(0.3, -0.2))
    assert np.ptp(field) == pytest.approx(1, abs=1e-5)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    for axis, side in ((0, 50), (1, 30)):
        assert np.abs(np.diff(field, n=2, axis=axis)).max() < 8 / side**2  # a quadratic over the side, nothing finer


@pytest.mark.parametrize(("shape", "direction"), [((1, 1), 0.7), ((1, 9), np.pi / 2), ((9, 1), 0.0)])
def test_a_side_of_one_pixel_has_no_slope(shape, direction):
    np.testing.assert_array_equal(smooth_field(shape, direction), np.zeros(shape, np.float32))


@pytest.mark.parametrize("grey", [20, 90, 200])
def test_read_noise_has_the_mean_and_spread_asked_for(grey):
    noisy = add_read_noise(np.full((200, 200), grey, np.float32), 4.0, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    assert noisy.mean() == pytest.approx(grey, abs=0.1)
    assert noisy.std() == pytest.approx(4, rel=0.02)


def test_variance_of_photon_noise_is_proportional_to_the_mean():
    greys, photons = np.array([2.0, 20.0, 60.0, 120.0, 240.0]), 400.0
    rng = np.random.default_rng(0)
    images = [add_photon_noise(np.full((300, 300), grey, np.float32), photons, rng) for grey in greys]
    np.testing.assert_allclose([image.mean() for image in images], greys, rtol=0.01)
    np.testing.assert_allclose([image.var() for image in images], greys * 255 / photons, rtol=0.03)
    # Grey values are whole numbers of photons.
    counts = images[2] * photons / 255
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    assert not add_photon_noise(np.zeros((5, 5), np.float32), photons, rng).any()


@pytest.mark.parametrize(("kind", "blur", "variance"), [("gaussian", 2.0, 4.0), ("disc", 4.0, 4.0)])
def test_defocus_spreads_a_point_as_far_as_asked(kind, blur, variance):
    """Variance along an axis: sd squared of a Gaussian, a quarter of the radius squared of a disc."""
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 200
    blurred = defocus_image(point, blur, kind)
    assert blurred.sum() == pytest.approx(200, rel=1e-4)
    rows = np.arange(41) - 20
    assert (blurred.sum(axis=1) * rows**2).sum() / 200 == pytest.approx(variance, rel=0.05)
    assert (blurred.sum(axis=1) * rows).sum() / 200 == pytest.approx(0, abs=1e-3)
    assert blurred.min() >= -1e-4
    if kind == "disc":
        assert blurred[20, 22] == pytest.approx(blurred[20, 20], rel=1e-3)
        assert abs(blurred[20, 25]) < 1e-4


def test_defocus_of_nothing_and_of_constants_changes_nothing():
    image = np.random.default_rng(0).uniform(0, 255, (9, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(defocus_image(image, 0.0), image)
    for kind in ("gaussian", "disc"):
        np.testing.assert_allclose(defocus_image(np.full((7, 7), 55, np.float32), 3.0, kind), 55, rtol=1e-5)
        np.testing.assert_allclose(defocus_image(np.full((1, 1), 55, np.float32), 3.0, kind), 55, rtol=1e-5)
        np.testing.assert_allclose(defocus_image(image, 1e-3, kind), image, atol=1e-3)
