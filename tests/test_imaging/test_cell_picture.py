import cv2
import numpy as np
import pytest

from ctc_mm.imaging.cell_measure import REASONS
from ctc_mm.imaging.cell_picture import BLUE, LETTERS, VERMILLION, draw_cells
from ctc_mm.imaging.cells import measure_cells, segment_cells
from ctc_mm.imaging.io import field_from_arrays

CENTRES = [(50, 60), (60, 160), (140, 90), (150, 200), (2, 110)]
RADIUS = 12


def bright_field(shape=(200, 260)):
    """Dark discs of 12 px radius on a bright, noisy ground; the last is cut by the upper edge."""
    image = np.full(shape, 160.0)
    for y, x in CENTRES:
        cv2.circle(image, (x, y), RADIUS, 90.0, cv2.FILLED, cv2.LINE_AA)
    image = cv2.GaussianBlur(image, (0, 0), 1) + np.random.default_rng(0).normal(0, 2, shape)
    return np.rint(image).astype(np.uint8)


def field_of(image, um_per_px=0.6):
    return field_from_arrays({"brightfield": image}, "one", um_per_px)


def of_colour(image_rgb, colour):
    return (image_rgb == np.array(colour, np.uint8)).all(axis=2)


@pytest.mark.parametrize("image", [np.zeros((1, 1), np.uint8), np.full((50, 70), 9, np.uint16)])
def test_picture_of_nothing(image):
    picture = draw_cells(field_of(image))
    assert picture.summary == ("cells: 0 (good 0, flagged 0)", "median diameter of good cells: -")
    assert not of_colour(picture.image_rgb[: image.shape[0]], BLUE).any()


def test_every_reason_has_a_letter_of_its_own():
    assert tuple(LETTERS) == REASONS
    assert len(set(LETTERS.values())) == len(REASONS)


def test_good_and_flagged_cells():
    picture = draw_cells(field_of(bright_field()), zoom=1)
    assert picture.summary[0] == "cells: 5 (good 4, flagged 1)"
    assert "  border: 1" in picture.summary
    diameter = float(picture.summary[1].removeprefix("median diameter of good cells: ").removesuffix(" µm"))
    assert diameter == pytest.approx(2 * RADIUS * 0.6, rel=0.1)
    canvas = picture.image_rgb[:200, (640 - 260) // 2 :][:, :260]
    blue, red = of_colour(canvas, BLUE), of_colour(canvas, VERMILLION)
    # Circumference of a disc in 8-connected pixels: about 5.7 times the radius.
    assert blue.sum() == pytest.approx(4 * 5.7 * RADIUS, rel=0.15)
    for y, x in CENTRES[:4]:
        assert blue[y - RADIUS - 2 : y + RADIUS + 3, x - RADIUS - 2 : x + RADIUS + 3].sum() > 4 * RADIUS
    assert 10 < red.sum() < 5.7 * RADIUS
    assert not red[20:].any()


def test_colour_is_shown_in_colour():
    grey = bright_field()
    planes = {"red": grey, "green": grey // 2, "blue": np.zeros_like(grey)}
    field = field_from_arrays(planes, um_per_px=0.6)
    canvas = draw_cells(field, zoom=1).image_rgb[:200, 190:450]
    red, green, blue = canvas[180:195, 5:100].reshape(-1, 3).mean(axis=0)
    assert red > green > blue


def test_region_shows_cells_that_the_whole_image_has():
    image = bright_field()
    whole = measure_cells(segment_cells(image, um_per_px=0.6), image, 0.6)
    part = draw_cells(field_of(image), region_xyxy=(140, 100, 260, 200))
    assert len(whole) == 5
    assert part.summary[0] == "cells: 1 (good 1, flagged 0)"
    assert part.image_rgb.shape[1] == 120 * 9


def test_sizes_in_pixels_where_the_scale_is_unknown():
    assert draw_cells(field_of(bright_field(), None)).summary[1].endswith(" px")


def test_smallest_and_largest_diameter_are_passed_on():
    summary = draw_cells(field_of(bright_field()), diameter_um=(20.0, 40.0)).summary
    assert int(summary[0].removeprefix("cells: ").split()[0]) == 0


def test_same_picture_twice():
    one, two = (draw_cells(field_of(bright_field())).image_rgb for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_fields_of_other_channels_and_methods_are_refused():
    planes = {name: bright_field() for name in ("dapi", "brightfield")}
    with pytest.raises(ValueError, match=r"one channel or three colours. Received: dapi, brightfield"):
        draw_cells(field_from_arrays(planes))
    with pytest.raises(ValueError, match="`method` must be one of"):
        draw_cells(field_of(bright_field()), method="learned")
