"""Grey values against the printed equations, at every depth."""

import numpy as np
import pytest

from ctc_mm.imaging.normalize import (
    flatten_field,
    gamma_transform,
    guess_white_level,
    normalize_background_brightness,
    scale_to_255,
    stretch_histogram,
)

DTYPES = ["uint8", "uint16", "float32"]


def ramp(dtype):
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    return np.linspace(0, top, 48).astype(dtype).reshape(6, 8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_images_stay_empty(dtype):
    empty = np.zeros((0, 5, 3), dtype)
    assert gamma_transform(empty, 1.5).shape == (0, 5, 3)
    assert gamma_transform(empty, 1.5).dtype == dtype
    assert stretch_histogram(empty).shape == (0, 5, 3)
    assert stretch_histogram(empty).dtype == np.float32
    assert scale_to_255(empty, 1).shape == (0, 5, 3)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5, 2.2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gamma_is_equation_1_on_the_unit_interval(dtype, gamma):
    image = ramp(dtype)
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    result = gamma_transform(image, gamma)
    assert result.dtype == image.dtype
    expected = (image / top) ** gamma * top
    np.testing.assert_allclose(result, expected, atol=1e-6 if dtype == "float32" else 0.5)
    if gamma == 1:
        np.testing.assert_array_equal(result, image)
    assert (result.min(), result.max()) == (0, top), "black and white stay"


def test_gamma_over_1_darkens_and_leaves_its_input():
    image = ramp("uint8")
    before = image.copy()
    assert gamma_transform(image, 1.5).mean() < image.mean() < gamma_transform(image, 0.7).mean()
    np.testing.assert_array_equal(image, before)


def test_gamma_white_level_of_12_bit_data():
    image = np.array([0, 1024, 4095, 5000], np.uint16)
    result = gamma_transform(image, 2.0, white_level=4095)
    np.testing.assert_array_equal(result, [0, 256, 4095, 4095])
    floats = gamma_transform(np.float32([0, 127.5, 255]), 2.0, white_level=255)
    np.testing.assert_allclose(floats, [0, 63.75, 255])


@pytest.mark.parametrize("gamma", [0, -1, float("nan"), float("inf")])
def test_gamma_must_be_positive(gamma):
    with pytest.raises(ValueError, match="gamma must be a number above 0"):
        gamma_transform(ramp("uint8"), gamma)


def test_gamma_refuses_negative_float_and_unknown_scale():
    with pytest.raises(ValueError, match="darkest is"):
        gamma_transform(np.float32([-0.1, 0.5]), 1.5)
    with pytest.raises(ValueError, match="float pixels reach 200; give white_level"):
        gamma_transform(np.float32([0, 200]), 1.5)


@pytest.mark.parametrize("dtype", [*DTYPES, "int16", "float64"])
@pytest.mark.parametrize("out_range", [(0, 255), (0, 1), (-1, 1), (10, 4095)])
def test_stretch_is_equation_2_between_the_bounds(dtype, out_range):
    image = np.array([[30, 60, 90], [40, 50, 110]]).astype(dtype)
    low, high = out_range
    result = stretch_histogram(image, out_range)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (image.astype(float) - 30) / 80 * (high - low) + low, rtol=1e-6, atol=1e-6)
    assert (result.min(), result.max()) == (low, high)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("out_range", [(0, 255), (-3, 8)])
def test_constant_image_becomes_the_lower_bound(dtype, out_range):
    result = stretch_histogram(np.full((3, 3), 7, dtype), out_range)
    np.testing.assert_array_equal(result, np.full((3, 3), out_range[0], np.float32))


def test_stretch_keeps_16_bit_levels_hues_and_its_input():
    image = np.arange(1000, 5096, dtype=np.uint16).reshape(64, 64)
    before = image.copy()
    assert len(np.unique(stretch_histogram(image))) == 4096
    np.testing.assert_array_equal(image, before)
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 0], colour[..., 1] = 200, 50
    colour[0, 0] = 0
    np.testing.assert_allclose(stretch_histogram(colour)[1, 1], [255, 63.75, 0], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_everywhere(bad):
    image = np.float32([[0.5, bad]])
    for call in (
        lambda: gamma_transform(image, 1.5),
        lambda: stretch_histogram(image),
        lambda: scale_to_255(image, 1.0),
        lambda: guess_white_level(image),
    ):
        with pytest.raises(ValueError, match="holds 1 NaN or infinite"):
            call()


@pytest.mark.parametrize("out_range", [(5, 5), (9, 1), (0, float("inf")), (1, 2, 3)])
def test_out_range_must_rise(out_range):
    with pytest.raises(ValueError, match="out_range must be two finite numbers"):
        stretch_histogram(ramp("uint8"), out_range)


@pytest.mark.parametrize("image", [np.zeros((2, 2), bool), np.zeros((2, 2), complex)])
def test_other_pixel_types_are_refused(image):
    with pytest.raises(TypeError, match="integers or floats"):
        gamma_transform(image, 1.5)
    with pytest.raises(TypeError, match="integers or floats"):
        stretch_histogram(image)


@pytest.mark.parametrize(
    ("image", "white"),
    [
        (np.zeros((0,), np.uint16), 1023),
        (np.uint8([3]), 255),
        (np.uint16([1023]), 1023),
        (np.uint16([1024]), 4095),
        (np.uint16([16000]), 16383),
        (np.uint16([16384]), 65535),
        (np.float32([1.0]), 1.0),
    ],
)
def test_white_level_guess(image, white):
    assert guess_white_level(image) == white


def test_white_level_guess_refuses_what_it_cannot_know():
    with pytest.raises(ValueError, match="float pixels reach 40; give white_level"):
        guess_white_level(np.float32([40]))
    with pytest.raises(TypeError, match="int32"):
        guess_white_level(np.int32([40]))


def test_scale_to_255_keeps_levels_saturates_and_copies():
    image = np.uint16([0, 2000, 4000, 9000])
    np.testing.assert_allclose(scale_to_255(image, 4000), [0, 127.5, 255, 255])
    np.testing.assert_array_equal(scale_to_255(np.float32([-2, 0.5]), 1.0), [0, 127.5])
    same = np.float32([1, 2])
    scale_to_255(same, 255)[:] = 0
    np.testing.assert_array_equal(same, [1, 2])
    with pytest.raises(ValueError, match="at most 255"):
        scale_to_255(np.uint8([1]), 4095)


def uneven_field(dtype=np.uint16):
    """Noise on a slope, with discs on it; and which pixels are discs."""
    y, x = np.mgrid[:300, :400]
    background = 100 + 0.2 * y + 0.1 * x
    is_cell = ((y % 100 - 50) ** 2 + (x % 100 - 50) ** 2) < 15**2
    noise = np.random.default_rng(0).normal(0, 3, y.shape)
    return background, is_cell, noise


def test_subtracting_the_background_leaves_cells_on_zero():
    background, is_cell, noise = uneven_field()
    image = np.rint(background + noise + 80 * is_cell).astype(np.uint16)
    flat = flatten_field(image)
    assert flat.dtype == np.float32
    assert abs(np.median(flat[~is_cell])) < 1
    assert abs(np.median(flat[is_cell]) - 80) < 1
    for quarter in (np.s_[:150, :200], np.s_[150:, 200:]):
        assert abs(np.median(flat[quarter][~is_cell[quarter]])) < 1
    assert flat.min() < 0, "noise is not cut off"


def test_dividing_by_the_background_keeps_the_scale():
    background, is_cell, noise = uneven_field()
    image = np.rint((background + noise) * np.where(is_cell, 0.6, 1)).astype(np.uint16)
    flat = flatten_field(image, "divide")
    level = np.median(background)
    assert flat.dtype == np.float32
    for quarter in (np.s_[:150, :200], np.s_[150:, 200:]):
        assert np.median(flat[quarter][~is_cell[quarter]]) == pytest.approx(level, rel=0.02)
        assert np.median(flat[quarter][is_cell[quarter]]) == pytest.approx(0.6 * level, rel=0.03)


def test_colours_are_flattened_one_by_one():
    background, is_cell, noise = uneven_field()
    image = np.stack([background + noise, 50 + noise, 30 + 2 * noise + 40 * is_cell], axis=-1).astype(np.float32)
    flat = flatten_field(image)
    for channel in range(3):
        np.testing.assert_array_equal(flat[..., channel], flatten_field(image[..., channel]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["subtract", "divide"])
def test_constant_black_tiny_and_empty_fields_are_defined(dtype, mode):
    for shape in ((40, 50), (1, 1)):
        grey = np.full(shape, 1, dtype)
        np.testing.assert_allclose(flatten_field(grey, mode), 0 if mode == "subtract" else 1, atol=1e-5)
        black = flatten_field(np.zeros(shape, dtype), mode)
        assert black.dtype == np.float32
        np.testing.assert_array_equal(black, 0)
    assert flatten_field(np.zeros((0, 5), dtype), mode).shape == (0, 5)


def test_fields_that_cannot_be_flattened_are_refused():
    with pytest.raises(ValueError, match="mode must be 'subtract' or 'divide', received 'add'"):
        flatten_field(np.zeros((4, 4)), "add")
    with pytest.raises(ValueError, match=r"received shape \(4,\)"):
        flatten_field(np.zeros(4))
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        flatten_field(np.array([[1, np.nan]]))


def crop(gain=1.0, slope=0.0, dark=-60.0, bright=40.0, noise=0.0):
    """A cell as bright-field shows it: dark rim, bright middle, on a background that may slope."""
    y, x = np.mgrid[:30, :30] - 14.5
    radius = np.hypot(y, x)
    cell = np.where(radius < 9, dark, 0) + np.where(radius < 4, bright - dark, 0)
    return gain * (120 + slope * x + cell + np.random.default_rng(0).normal(0, 1, y.shape) * noise)


def test_a_crop_has_its_background_in_the_middle_and_its_extremes_at_the_ends():
    result = normalize_background_brightness(crop())
    assert result.dtype == np.float32
    assert result[0, 0] == pytest.approx(0.5, abs=1e-6)
    assert result[7, 15] == pytest.approx(0, abs=1e-6)
    assert result[15, 15] == pytest.approx(0.5 + 0.5 * 40 / 60, abs=1e-6)


def test_a_fluorescence_crop_goes_from_zero_to_one():
    result = normalize_background_brightness(crop(dark=30, bright=90), "fluorescence")
    assert result[0, 0] == 0
    assert result[7, 15] == pytest.approx(1 / 3, abs=1e-6)
    assert result[15, 15] == 1


@pytest.mark.parametrize("kind", ["bright_field", "fluorescence"])
def test_gain_offset_slope_and_depth_drop_out(kind):
    expected = normalize_background_brightness(crop(noise=2), kind)
    np.testing.assert_allclose(normalize_background_brightness(crop(noise=2, gain=0.4) + 30, kind), expected, atol=1e-5)
    np.testing.assert_allclose(normalize_background_brightness(crop(noise=2, gain=1e-12), kind), expected, atol=1e-3)
    np.testing.assert_allclose(normalize_background_brightness(crop(noise=2, slope=1.5), kind), expected, atol=5e-3)
    eight = np.rint(crop(noise=2)).astype(np.uint8)
    expected = normalize_background_brightness(eight, kind)
    deep = eight.astype(np.uint16) * 257
    np.testing.assert_allclose(normalize_background_brightness(deep, kind), expected, atol=1e-5)
    floats = eight.astype(np.float32) / 255
    np.testing.assert_allclose(normalize_background_brightness(floats, kind), expected, atol=1e-5)


def test_a_neighbour_at_the_border_does_not_tilt_the_background():
    image = crop(noise=1)
    image[20:, :7] += 80
    result = normalize_background_brightness(image)
    assert abs(np.median(result[:10, 20:]) - 0.5) < 0.03


def test_a_mask_says_what_is_background():
    image = crop()[6:24, 6:24]  # the cell reaches the border
    cell_mask = np.hypot(*(np.mgrid[:18, :18] - 8.5)) < 9
    result = normalize_background_brightness(image, cell_mask=cell_mask)
    assert result[0, 0] == pytest.approx(0.5, abs=1e-6)
    assert result[1, 8] == pytest.approx(0, abs=1e-6)
    whole = normalize_background_brightness(image, cell_mask=np.ones((18, 18), bool))
    np.testing.assert_array_equal(whole, normalize_background_brightness(image))


def test_the_noise_of_an_empty_crop_is_not_blown_up():
    empty = np.random.default_rng(0).normal(100, 2, (30, 30))
    result = normalize_background_brightness(empty)
    assert abs(result.mean() - 0.5) < 0.03
    assert result.std() < 0.6 * normalize_background_brightness(empty, noise_floor=0).std()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "value"), [("bright_field", 0.5), ("fluorescence", 0.0)])
@pytest.mark.parametrize("shape", [(30, 30), (1, 1), (2, 5), (30, 30, 3)])
def test_constant_crops_are_background(dtype, kind, value, shape):
    for level in (0, 1):
        result = normalize_background_brightness(np.full(shape, level, dtype), kind)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.full(shape, value, np.float32))
    assert normalize_background_brightness(np.zeros((0, *shape[1:]), dtype), kind).shape == (0, *shape[1:])


def test_colours_share_one_scale():
    image = np.stack([crop(), 0.5 * crop(), np.full((30, 30), 80.0)], axis=-1)
    result = normalize_background_brightness(image, percentile=100)
    difference = result - 0.5
    np.testing.assert_allclose(difference[..., 1], 0.5 * difference[..., 0], atol=1e-6)
    np.testing.assert_allclose(difference[..., 2], 0, atol=1e-6)
    assert result.min() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": np.zeros(4)}, r"received shape \(4,\)"),
        ({"crop": np.full((4, 4), np.nan)}, "16 NaN or infinite"),
        ({"kind": "phase"}, "'bright_field' or 'fluorescence', received 'phase'"),
        ({"cell_mask": np.zeros((3, 4), bool)}, r"bool of shape \(4, 4\), received bool of \(3, 4\)"),
        ({"cell_mask": np.zeros((4, 4))}, "received float64"),
        ({"border_px": 0}, "border_px must be at least 1"),
        ({"percentile": 101}, "percentile above 0"),
        ({"noise_floor": float("nan")}, "noise_floor at least 0"),
    ],
)
def test_crops_that_cannot_be_normalised_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        normalize_background_brightness(**{"crop": np.zeros((4, 4)), **change})
