"""Large-scale background: found between cells, not taken from them, at every depth."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.imaging.background import estimate_background, fit_surface, surface_terms

NOISE = 8.0


def uneven(height=512, width=640):
    """Background that is highest off the centre, as a lamp out of place makes it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return 200 + 120 * np.exp(-(((y - 200) / 350) ** 2 + ((x - 380) / 450) ** 2))


def with_cells(background, count, radius, contrast, seed=0):
    rng = np.random.default_rng(seed)
    cover = np.zeros(background.shape, np.uint8)
    for _ in range(count):
        place = (int(rng.integers(background.shape[1])), int(rng.integers(background.shape[0])))
        cv2.circle(cover, place, radius, 1, -1)
    image = background + rng.normal(0, NOISE, background.shape) + cover.astype(np.float32) * contrast
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16), float(cover.mean())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 7), (64, 64), (200, 333)])
@pytest.mark.parametrize("value", [0, 77])
def test_the_background_of_a_constant_image_is_its_value(dtype, shape, value):
    background = estimate_background(np.full(shape, value, dtype))
    assert background.shape == shape
    assert background.dtype == np.float32
    np.testing.assert_allclose(background, value, atol=1e-3)


@pytest.mark.parametrize(
    ("count", "radius", "cover_range"),
    [(0, 1, (0, 0)), (150, 10, (0.1, 0.2)), (150, 20, (0.35, 0.5)), (30, 60, (0.5, 0.75))],
    ids=["no cell", "few", "half covered", "large cells on two thirds"],
)
def test_cells_are_not_taken_for_background(count, radius, cover_range):
    background = uneven()
    image, cover = with_cells(background, count, radius, contrast=400)
    assert cover_range[0] <= cover <= cover_range[1]
    error = estimate_background(image) - background
    assert abs(error.mean()) < 0.5 * NOISE
    assert np.sqrt((error**2).mean()) < 0.75 * NOISE


def test_dark_cells_and_cells_of_both_kinds_are_left_out_too():
    background = uneven()
    dark, _ = with_cells(background, 60, 20, contrast=-150)
    error = estimate_background(dark, objects="dark") - background
    assert abs(error.mean()) < 0.5 * NOISE
    both, _ = with_cells(background, 40, 20, contrast=200)
    both = both - with_cells(background, 40, 20, contrast=0, seed=1)[0] + dark.astype(np.int64)
    error = estimate_background(np.clip(both, 0, None).astype(np.uint16), objects="both") - background
    assert abs(error.mean()) < 0.5 * NOISE


def test_saturated_cells_are_not_the_mode():
    image = np.random.default_rng(0).normal(30, 3, (256, 256)).clip(0, 255).astype(np.uint8)
    image[:, :120] = 255
    assert abs(estimate_background(image)[:, 180:].mean() - 30) < 1.5
    assert estimate_background(image).max() < 60


def test_depths_of_one_image_have_one_background():
    image, _ = with_cells(uneven() / 3, 60, 20, contrast=100)
    eight = np.clip(image, 0, 255).astype(np.uint8)
    expected = estimate_background(eight)
    np.testing.assert_allclose(estimate_background(eight.astype(np.uint16) * 257), expected * 257, rtol=1e-6)
    np.testing.assert_allclose(estimate_background(eight.astype(np.float32) / 255), expected / 255, rtol=1e-3)


def test_the_result_is_the_same_every_time_and_the_image_is_left_alone():
    image, _ = with_cells(uneven(), 40, 20, contrast=300)
    before = image.copy()
    first = estimate_background(image)
    np.testing.assert_array_equal(first, estimate_background(image))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("flip", [(slice(None, None, -1), slice(None)), (slice(None), slice(None, None, -1))])
def test_a_mirrored_image_has_the_mirrored_background(flip):
    image, _ = with_cells(uneven(), 40, 20, contrast=300)
    difference = estimate_background(image[flip]) - estimate_background(image)[flip]
    assert np.abs(difference).max() < NOISE  # other samples of the same noise


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1), st.sampled_from(["bright", "dark", "both"]))
def test_the_background_of_any_image_lies_near_its_values(height, width, seed, objects):
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    background = estimate_background(image, 16, objects)
    assert background.shape == image.shape
    assert np.isfinite(background).all()
    assert background.min() > -256
    assert background.max() < 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 4)),), r"received shape \(0, 4\)"),
        ((np.zeros((4, 4, 3)),), r"received shape \(4, 4, 3\)"),
        ((np.zeros((4, 4)), 0), "block_px must be at least 1"),
        ((np.zeros((4, 4)), 64, "grey"), "objects must be one of bright, dark, both"),
    ],
)
def test_what_has_no_background_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_background(*arguments)


def test_a_surface_goes_through_the_values_it_is_made_of():
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 6), indexing="ij"))
    values = 3 + 2 * y - x + 0.5 * y * x + y**2
    coefficients = fit_surface(y, x, values, 2)
    np.testing.assert_allclose(coefficients, [3, 2, -1, 1, 0.5, 0], atol=1e-6)
    values[::4] += 100  # a quarter of the points are something else
    np.testing.assert_allclose(
        surface_terms(y, x, 2) @ fit_surface(y, x, values, 2), values - 100 * (np.arange(30) % 4 == 0), atol=0.05
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_carry_what_they_can(count):
    y, x = np.linspace(-1, 1, count) if count > 1 else np.zeros(1), np.zeros(count)
    np.testing.assert_allclose(surface_terms(y, x, 2) @ fit_surface(y, x, np.full(count, 5.0), 2), 5, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(bad):
    image = np.ones((9, 9), np.float32)
    image[0, 3] = bad  # between the samples too
    with pytest.raises(ValueError, match="image holds 1 NaN or infinite pixels"):
        estimate_background(image)
    with pytest.raises(TypeError, match="received dtype bool"):
        estimate_background(np.ones((9, 9), bool))
