import cv2
import numpy as np
import pytest

from ctc_mm.explain.draw import CLASS_COLORS_RGB, TRUTH_COLOR_RGB, blend_heat, draw_levels, draw_overlay, to_display


def test_empty_map_leaves_the_image_as_it_is(cam_result):
    image = np.random.default_rng(0).integers(0, 256, (700, 650, 3), dtype=np.uint8)
    overlay = draw_overlay(image, cam_result((700, 650), boxes=()), ["CTC"])
    assert np.array_equal(overlay, image)


def test_heat_turns_red_where_the_map_is_highest_and_nothing_elsewhere():
    image = np.full((4, 4, 3), 100, dtype=np.uint8)
    cam = np.zeros((4, 4), dtype=np.float32)
    cam[1, 2] = 0.2  # not 1: a weighted sum rarely reaches it
    blended = blend_heat(image, cam)
    red, green, blue = blended[1, 2].astype(int)
    assert red > green + 20
    assert red > blue + 20
    assert (np.delete(blended.reshape(-1, 3), 6, axis=0) == 100).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 200]], dtype=np.uint8), [0, 200]),
        (np.array([[100, 4095]], dtype=np.uint16), [0, 255]),
        (np.array([[0.5, 1.0]], dtype=np.float32), [0, 255]),
        (np.array([[7, 7]], dtype=np.uint16), [0, 0]),
    ],
    ids=["uint8 as it is", "uint16", "float32", "constant"],
)
def test_to_display(image, expected):
    shown = to_display(image)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[value] * 3 for value in expected]]


def test_to_display_does_not_share_the_image():
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    to_display(image)[:] = 9
    assert image.max() == 0


def test_small_images_are_enlarged_and_boxes_drawn_half_open(cam_result):
    image = np.full((300, 300), 90, dtype=np.uint8)
    overlay = draw_overlay(image, cam_result(), ["CTC"], truth_xyxy=np.array([[150, 200, 250, 280]]))
    assert overlay.shape == (900, 900, 3)
    color, truth = np.array(CLASS_COLORS_RGB[0]), np.array(TRUTH_COLOR_RGB)
    # The last pixel inside an edge carries the line; the first one outside (beyond the 2 px line) does not.
    assert (overlay[250, 120] == color).all()
    assert (overlay[250, 299] == color).all()
    assert not (overlay[250, 303] == color).all()
    assert (overlay[700, 450] == truth).all()
    assert (overlay[700, 749] == truth).all()
    assert (overlay[700, 750] == 90).all()


def test_text_at_the_upper_and_right_edge_stays_inside(cam_result):
    image = np.full((300, 300), 90, dtype=np.uint8)
    result = cam_result(boxes=((290, 0, 300, 10),))
    overlay = draw_overlay(image, result, ["a long class name"])
    plate = (overlay[:25] == np.array(CLASS_COLORS_RGB[0])).all(axis=2)
    assert plate[:, :895].sum() > 1000  # the plate was moved to the left, not cut


def test_label_without_a_name_is_drawn_by_number(cam_result):
    image = np.zeros((300, 300), dtype=np.uint8)
    unnamed = draw_overlay(image, cam_result(), [])
    named = draw_overlay(image, cam_result(), ["class 0"])
    assert np.array_equal(unnamed, named)


def test_strip_shows_each_level_and_the_sum(cam_result):
    image = np.full((300, 320, 3), 90, dtype=np.uint8)
    strip = draw_levels(image, cam_result((300, 320)))
    assert strip.shape == (300 + 26, 7 * 320 + 6 * 6, 3)
    panels = [strip[26:, start : start + 320] for start in range(0, strip.shape[1], 326)]
    changed = [bool((panel != 90).any()) for panel in panels]
    assert changed == [True, False, False, False, False, False, True]
    titles = [strip[:26, start : start + 320] for start in range(0, strip.shape[1], 326)]
    assert all((title < 100).any() for title in titles)


def test_panels_of_large_images_are_made_smaller(cam_result):
    strip = draw_levels(np.full((900, 1200), 90, dtype=np.uint8), cam_result((900, 1200), boxes=()))
    assert strip.shape == (300 + 26, 7 * 400 + 6 * 6, 3)


def test_text_of_a_box_is_not_crossed_by_the_next_box(cam_result):
    image = np.full((700, 700), 90, dtype=np.uint8)
    alone = draw_overlay(image, cam_result((700, 700), boxes=((100, 100, 300, 300),)), ["CTC"])
    crossed = draw_overlay(image, cam_result((700, 700), boxes=((100, 100, 300, 300), (110, 40, 200, 200))), ["CTC"])
    (width, height), _ = cv2.getTextSize("CTC 0.90", cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    plate = np.s_[100 - height : 100, 100 : 100 + width]
    assert np.array_equal(crossed[plate], alone[plate])


def test_drawing_changes_neither_image_nor_result(cam_result):
    image = np.full((300, 300, 3), 90, dtype=np.uint8)
    result = cam_result()
    before = result.fused.copy(), result.boxes_xyxy.copy()
    draw_overlay(image, result, ["CTC"], np.zeros((0, 4)))
    draw_levels(image, result)
    assert (image == 90).all()
    assert np.array_equal(result.fused, before[0])
    assert np.array_equal(result.boxes_xyxy, before[1])
