"""The first look at a slide: white level by pixel type, model and content; the same however many threads read."""

import numpy as np
import pytest

from ctc_mm.counting.slide_look import look_over
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field import field_from_arrays


def level_of(image, model_level=None, given_level=None):
    look = look_over(field_from_arrays({"brightfield": image}), ["brightfield"], model_level, given_level)
    return look.white_level, look.white_level_source


def grey(value, dtype):
    image = np.full((40, 50), value, dtype)
    image[3, 4] = value // 2 if dtype != np.float32 else value / 2
    return image


@pytest.mark.parametrize(
    ("value", "dtype", "model_level", "expected"),
    [
        (200, np.uint8, None, (255, "slide")),
        (200, np.uint8, 240.0, (240, "model")),
        (200, np.uint8, 4095.0, (255, "slide")),
        (200 * 257, np.uint16, None, (65535, "slide")),
        (200 * 257, np.uint16, 4095.0, (65535, "slide")),
        (200 * 257, np.uint16, 240.0, (240 * 257, "model")),
        (3000, np.uint16, None, (4095, "slide")),
        (3000, np.uint16, 255.0, (4095, "slide")),
        (3000, np.uint16, 16383.0, (16383, "model")),
        (0, np.uint16, None, (65535, "slide")),
        (0.7, np.float32, None, (1, "slide")),
        (0.7, np.float32, 255.0, (1, "slide")),
        (180.0, np.float32, 255.0, (255, "model")),
    ],
)
def test_white_level(value, dtype, model_level, expected):
    assert level_of(grey(value, dtype), model_level) == expected


def test_what_the_user_states_goes_first():
    assert level_of(grey(3000, np.uint16), 16383.0, 3500.0) == (3500, "given")
    assert level_of(grey(180.0, np.float32), None, 200.0) == (200, "given")


def test_slides_that_would_be_white_are_refused():
    with pytest.raises(
        SlideError, match=r"array: 100% of its pixels are above the white level 1023 \(model\), up to 3"
    ):
        level_of(grey(3000, np.uint16), 1023.0)
    with pytest.raises(SlideError, match="float pixels reach 180, and which value stands for white is not known"):
        level_of(grey(180.0, np.float32))


def test_threads_and_parts_change_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (2100, 2500), dtype=np.uint8)
    field = field_from_arrays({"brightfield": image})
    one, four = (look_over(field, ["brightfield"], threads=threads) for threads in (1, 4))
    assert np.array_equal(one.contrast.contrast, four.contrast.contrast)
    assert np.array_equal(one.overview.rgb, four.overview.rgb)
    assert one.overview.scale == 0.5
    assert one.overview.rgb.shape == (1050, 1250, 3)


def test_colour_stays_colour():
    planes = {"red": grey(200, np.uint8), "green": grey(100, np.uint8), "blue": grey(30, np.uint8)}
    planes["red"][:, :20] = 10
    look = look_over(field_from_arrays(planes), list(planes))
    assert look.overview.rgb[20, 40, 0] > look.overview.rgb[20, 40, 1] > look.overview.rgb[20, 40, 2]
    assert len(look.contrast.noise) == 3
