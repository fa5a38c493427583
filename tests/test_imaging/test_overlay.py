import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctc_mm.imaging.overlay import (
    LabelOutline,
    LineStyle,
    View,
    check_zoom,
    choose_zoom,
    draw_outline,
    draw_rings,
    label_outlines,
    parse_region,
    parse_zoom,
)

RED = LineStyle((255, 0, 0))


def labels_of_two():
    """A 3 x 4 and a 2 x 2 rectangle that touch, in 8 x 10 px."""
    labels = np.zeros((8, 10), np.int32)
    labels[2:5, 1:5] = 1
    labels[3:5, 5:7] = 2
    return labels


def drawn(labels, view, style=RED):
    """Pixels that outlines of all labels colour."""
    width, height = view.size_wh
    canvas = np.zeros((height, width, 3), np.uint8)
    for outline in label_outlines(labels):
        draw_outline(canvas, outline, view, style)
    assert set(map(tuple, canvas.reshape(-1, 3))) <= {(0, 0, 0), style.colour_rgb}
    return canvas.any(axis=2)


def test_no_label_no_outline():
    assert list(label_outlines(np.zeros((4, 5), np.int32))) == []


def test_outlines_tell_label_box_area_and_place():
    first, second = label_outlines(labels_of_two(), origin_xy=(100, 200))
    assert (first.label, first.box_xyxy, first.area_px) == (1, (101, 202, 105, 205), 12)
    assert (second.label, second.box_xyxy, second.area_px) == (2, (105, 203, 107, 205), 4)
    assert second.diameter_px == pytest.approx(2 * np.sqrt(4 / np.pi))


def test_missing_labels_are_passed_over():
    labels = np.array([[0, 3], [5, 0]], np.int32)
    assert [outline.label for outline in label_outlines(labels)] == [3, 5]


@pytest.mark.parametrize(
    ("corner_xy", "cut"), [((0, 3), True), ((3, 0), True), ((1, 1), False), ((8, 1), True), ((1, 6), True)]
)
def test_cut_at_the_edge_of_the_field(corner_xy, cut):
    outline = LabelOutline(1, np.ones((2, 2), bool), corner_xy)
    assert outline.is_cut((10, 8)) is cut


def test_in_region_by_pixels_not_by_box():
    corner = LabelOutline(1, np.array([[1, 0], [1, 1]], bool), (10, 20))
    assert corner.is_in((11, 21, 12, 22))
    assert not corner.is_in((11, 20, 12, 21))
    assert not corner.is_in((0, 0, 5, 5))


def test_outline_is_the_outer_row_of_an_objects_own_pixels():
    view = View((0, 0, 10, 8), 1)
    expected = labels_of_two() > 0
    expected[3, 2:4] = False
    assert (drawn(labels_of_two(), view) == expected).all()


def test_enlarged_outline_stays_inside_the_enlarged_object():
    labels = labels_of_two()
    line = drawn(labels, View((0, 0, 10, 8), 6), LineStyle((0, 255, 0), width_px=2))
    enlarged = np.kron(labels, np.ones((6, 6), int))
    assert not line[enlarged == 0].any()
    first = line & (enlarged == 1)
    # Rows 12 to 29 and columns 6 to 29, two pixels wide.
    assert first.sum() == 18 * 24 - 14 * 20
    assert not first[14:28, 8:28].any()


def test_region_moves_and_cuts_the_outline():
    whole = drawn(labels_of_two(), View((0, 0, 10, 8), 3))
    part = drawn(labels_of_two(), View((2, 3, 6, 7), 3))
    assert (part == whole[9:21, 6:18]).all()
    assert part.any()


def test_object_outside_the_region_draws_nothing():
    assert not drawn(labels_of_two(), View((8, 6, 10, 8), 4)).any()


def test_reduced_outline_covers_every_object_however_small():
    labels = np.zeros((40, 40), np.int32)
    labels[13, 22] = 1
    labels[20:36, 4:36] = 2
    line = drawn(labels, View((0, 0, 40, 40), 0.25))
    assert line[3, 5]
    assert line[5:9, 1:9].sum() == 4 * 8 - 2 * 6
    assert line.sum() == 1 + 20


def test_dashed_line_leaves_its_share_out_and_is_part_of_the_solid_one():
    labels = np.zeros((60, 60), np.int32)
    labels[5:55, 5:55] = 1
    view = View((0, 0, 60, 60), 1)
    solid, dashed = drawn(labels, view), drawn(labels, view, LineStyle((1, 2, 3), (3, 3)))
    assert not (dashed & ~solid).any()
    assert dashed.sum() == pytest.approx(solid.sum() / 2, rel=0.05)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(arrays(np.int32, (6, 7), elements=st.integers(0, 3)), st.sampled_from([1, 2, 3, 0.5]))
def test_any_label_image_is_drawn_on_its_own_pixels(labels, zoom):
    view = View((0, 0, 7, 6), zoom)
    line = drawn(labels, view)
    count = len(np.unique(labels[labels > 0]))
    assert bool(line.any()) == (count > 0)
    if zoom >= 1:
        enlarged = np.kron(labels, np.ones((zoom, zoom), int))
        assert not line[enlarged == 0].any()
        for label in np.unique(labels[labels > 0]):
            assert line[enlarged == label].any()


def test_rings_lie_around_sub_pixel_places():
    view = View((10, 20, 30, 40), 4)
    canvas = np.zeros((80, 80, 3), np.uint8)
    draw_rings(canvas, np.array([[29.5, 20.25]]), view, 3, RED)
    ys, xs = np.nonzero(canvas[..., 0] > 100)
    assert (ys.mean(), xs.mean()) == pytest.approx(((9.5 + 0.5) * 4 - 0.5, (10.25 + 0.5) * 4 - 0.5), abs=0.3)
    assert np.hypot(ys - 39.5, xs - 42.5) == pytest.approx(12, abs=1.2)
    nothing = np.zeros((80, 80, 3), np.uint8)
    draw_rings(nothing, np.zeros((0, 2)), view, 3, RED)
    assert not nothing.any()


def test_a_pixels_middle_is_its_index_in_field_and_picture():
    view = View((10, 20, 30, 40), 3)
    assert view.to_picture(np.array([[20, 10], [21, 12]])).tolist() == [[1, 1], [4, 7]]


@pytest.mark.parametrize(
    ("size_wh", "zoom"), [((1, 1), 12), ((256, 256), 4), ((696, 520), 2), ((1000, 1000), 1), ((10_000, 9000), 1 / 3)]
)
def test_zoom_chosen_by_size(size_wh, zoom):
    assert choose_zoom((0, 0, *size_wh)) == zoom
    assert check_zoom(zoom) == zoom


def test_long_strip_is_not_enlarged_beyond_what_can_be_opened():
    assert choose_zoom((0, 0, 3000, 10)) == 1


@pytest.mark.parametrize("zoom", [0, -1, 1.5, 0.7, 65, float("nan"), float("inf")])
def test_zoom_that_is_none(zoom):
    with pytest.raises(ValueError, match="zoom must be a whole number"):
        check_zoom(zoom)


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 4, 4), (3, 3, 2, 5)])
def test_region_without_area(region):
    with pytest.raises(ValueError, match="with an area"):
        View(region, 1)


def test_region_and_zoom_from_a_command_line():
    assert parse_region("1, 2,30,40") == (1, 2, 30, 40)
    assert parse_zoom("0.25") == 0.25
    for text in ("1,2,3", "1,2,3,x", "5,5,5,9", "-1,0,4,4"):
        with pytest.raises(ValueError, match="Received"):
            parse_region(text)


@pytest.mark.parametrize(("zoom", "size_wh"), [(1, (20, 10)), (3, (60, 30)), (0.25, (5, 2))])
def test_pixels_are_brought_to_the_size_of_the_picture(zoom, size_wh):
    view = View((0, 0, 20, 10), zoom)
    enlarged = view.enlarge(np.full((10, 20), 77, np.uint8))
    assert view.size_wh == size_wh
    assert enlarged.shape == size_wh[::-1]
    assert (enlarged == 77).all()
