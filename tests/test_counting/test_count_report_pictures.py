"""Pictures of cells in a report: how channels are shown, what a thumbnail shows, sheets, maps laid over cells."""

import base64

import cv2
import numpy as np
import pytest
from report_counts import brightfield_count, imfish_count

from ctc_mm.counting.report.cam import choose_explained, explain_count
from ctc_mm.counting.report.cell_cam import CellCAM, heat_pictures, share_of_top
from ctc_mm.counting.report.look import ChannelLook, Panel, choose_panels, measure_look
from ctc_mm.counting.report.sprites import jpeg_uri, pack_sheets
from ctc_mm.counting.report.thumbnails import (
    GROUND,
    choose_side_px,
    choose_window_px,
    cut_thumbnails,
    windows_around,
)
from ctc_mm.counting.route import RouteSpec
from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.display import DisplayRange
from ctc_mm.imaging.field import field_from_arrays

AS_IS = DisplayRange(0, 255)


def grey_look(name="brightfield", shown=AS_IS):
    return ChannelLook((Panel(name, (name,)),), {name: shown}, {})


def decoded(uri):
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize(
    ("channels", "panels"),
    [
        (("brightfield",), ["brightfield"]),
        (("red", "green", "blue"), ["colour"]),
        (("dapi", "cep8", "cd45"), ["colour", "dapi", "cep8", "cd45"]),
        (("brightfield", "dapi"), ["brightfield", "dapi"]),
        (("bf", "dapi", "ck"), ["colour", "bf", "dapi", "ck"]),
        (("red", "green", "blue", "dapi", "ck"), ["colour", "overlay", "dapi", "ck"]),
    ],
)
def test_panels_by_channels(channels, panels):
    assert [panel.name for panel in choose_panels(channels)] == panels


def test_transmitted_light_is_not_added_to_fluorescence():
    (colour, *_) = choose_panels(("brightfield", "dapi", "ck"))
    assert colour.channels == ("dapi", "ck")


def test_composite_has_the_colours_of_the_paper():
    ranges = dict.fromkeys(("dapi", "cep8", "cd45"), AS_IS)
    field = field_from_arrays({name: np.zeros((8, 8), np.uint8) for name in ranges})
    look = ChannelLook(choose_panels(tuple(ranges)), ranges, measure_look(field, np.zeros((0, 4))).colours)
    block = np.zeros((3, 2, 2), np.uint8)
    block[0, 0, 0] = block[2, 1, 1] = 255
    colour, dapi, cep8, _ = look.draw(block)
    assert colour[0, 0].tolist() == [45, 85, 255]
    assert colour[1, 1].tolist() == [235, 25, 45]
    assert dapi[..., 0].tolist() == [[255, 0], [0, 0]]
    assert not cep8.any()


def test_8_bit_colours_stay_as_the_camera_gave_them():
    rng = np.random.default_rng(0)
    planes = {name: rng.integers(90, 200, (64, 64)).astype(np.uint8) for name in ("red", "green", "blue")}
    look = measure_look(field_from_arrays(planes), np.zeros((0, 4)))
    (picture,) = look.draw(np.stack(list(planes.values())))
    np.testing.assert_array_equal(picture, np.stack(list(planes.values()), axis=-1))
    assert look.caption().endswith("colours 0 to 255")


@pytest.mark.parametrize("factor", [1, 257])
def test_bit_depth_does_not_change_a_picture(factor):
    count, field = brightfield_count(size=320)
    boxes = np.array([cell.box_xyxy for cell in count.cells])
    plane = field.read()[0].astype(np.uint16 if factor > 1 else np.uint8) * factor
    other = field_from_arrays({"brightfield": plane})
    one, two = (cut_thumbnails(f, boxes, measure_look(f, boxes)) for f in (field, other))
    assert np.abs(one.strips.astype(int) - two.strips).max() <= 1


@pytest.mark.parametrize("value", [0, 7.5])
def test_constant_slide_can_be_shown(value):
    field = field_from_arrays({"dapi": np.full((40, 50), value, np.float32), "ck": np.zeros((40, 50), np.float32)})
    look = measure_look(field, np.array([[1.0, 1, 9, 9]]))
    cut = cut_thumbnails(field, np.array([[1.0, 1, 9, 9]]), look)
    assert cut.strips.shape == (1, 16, 48, 3)


def test_slide_of_one_pixel():
    field = field_from_arrays({"brightfield": np.full((1, 1), 9, np.uint8)})
    boxes = np.array([[0.0, 0, 1, 1]])
    cut = cut_thumbnails(field, boxes, measure_look(field, boxes))
    assert (cut.strips != GROUND).sum() == 3  # one pixel, three colours; the rest is beyond the slide


def test_no_cells_no_pictures():
    field = field_from_arrays({"brightfield": np.zeros((30, 30), np.uint8)})
    cut = cut_thumbnails(field, np.zeros((0, 4)), grey_look())
    assert cut.strips.shape[0] == 0
    assert pack_sheets(cut.strips).uris == ()


def test_windows_are_of_one_size_but_for_giants():
    boxes = np.array([[10.0, 10, 20, 20]] * 19 + [[0.0, 0, 100, 30]])
    window_px = choose_window_px(boxes)
    assert window_px == 16
    windows = windows_around(boxes, window_px)
    sides = windows[:, 2] - windows[:, 0]
    assert sides.tolist() == [16] * 19 + [120]
    assert windows[0].tolist() == [7, 7, 23, 23]
    assert (choose_side_px(16, 96), choose_side_px(50, 96), choose_side_px(300, 100)) == (16, 48, 96)


def test_thumbnail_shows_the_pixels_around_the_cell():
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    field = field_from_arrays({"brightfield": image})
    look = grey_look(shown=DisplayRange(0, 64 * 64 - 1))
    boxes = np.array([[28.0, 20, 36, 28], [0.0, 0, 8, 8]])
    cut = cut_thumbnails(field, boxes, look)
    expected = np.rint(image[16:32, 24:40] * (255 / 4095)).astype(np.uint8)
    np.testing.assert_array_equal(cut.strips[0, ..., 0], expected)
    assert cut.windows_xyxy.tolist() == [[24, 16, 40, 32], [-4, -4, 12, 12]]
    corner = cut.strips[1]
    assert (corner[:4] == GROUND).all()
    assert (corner[:, :4] == GROUND).all()
    np.testing.assert_array_equal(corner[4:, 4:, 0], np.rint(image[:12, :12] * (255 / 4095)).astype(np.uint8))


class CountedReads:
    """A field that notes what is read, and cannot read a block."""

    def __init__(self, field, broken=None):
        self._field, self.broken, self.regions = field, broken, []
        self.size_wh, self.channels, self.name = field.size_wh, field.channels, field.name

    def read(self, channels=None, region_xyxy=None):
        self.regions.append(region_xyxy)
        if self.broken is not None:
            x0, y0, x1, y1 = region_xyxy
            if x0 < self.broken[2] and x1 > self.broken[0] and y0 < self.broken[3] and y1 > self.broken[1]:
                raise ImageReadError(f"tile at {self.broken} is damaged")
        return self._field.read(channels, region_xyxy)


def test_pictures_do_not_depend_on_tiles_and_each_is_read_once():
    count, field = brightfield_count(size=640)
    boxes = np.array([cell.box_xyxy for cell in count.cells])
    look = measure_look(field, boxes)
    whole, small = CountedReads(field), CountedReads(field)
    one = cut_thumbnails(whole, boxes, look, tile_px=4096)
    many = cut_thumbnails(small, boxes, look, tile_px=128)
    np.testing.assert_array_equal(one.strips, many.strips)
    assert len(whole.regions) == 1
    assert len(small.regions) == len(set(small.regions)) <= 25
    assert max(x1 - x0 for x0, _, x1, _ in small.regions) <= 128 + choose_window_px(boxes)


def test_damage_costs_no_neighbour_its_picture():
    image = np.full((200, 200), 77, np.uint8)
    field = CountedReads(field_from_arrays({"brightfield": image}), broken=(100, 100, 110, 110))
    boxes = np.array([[10.0, 10, 20, 20], [100.0, 100, 110, 110], [180.0, 20, 190, 30]])
    cut = cut_thumbnails(field, boxes, grey_look())
    assert list(cut.problems) == [1]
    assert "damaged" in cut.problems[1]
    assert (cut.strips[1] == GROUND).all()
    assert (cut.strips[[0, 2]] == 77).all()


def test_look_leaves_out_what_cannot_be_read():
    image = np.random.default_rng(0).integers(100, 140, (200, 200)).astype(np.uint8)
    field = field_from_arrays({"brightfield": image})
    look = measure_look(CountedReads(field, broken=(0, 0, 40, 40)), np.zeros((0, 4)))
    assert 100 <= look.ranges["brightfield"].low <= 101
    with pytest.raises(ImageReadError, match="damaged"):
        measure_look(CountedReads(field, broken=(0, 0, 200, 200)), np.zeros((0, 4)))


def test_sheets_hold_every_strip():
    rng = np.random.default_rng(1)
    flat = rng.integers(0, 255, (1500, 1, 1, 3)).astype(np.uint8)
    strips = np.broadcast_to(flat, (1500, 24, 48, 3))
    sheets = pack_sheets(strips)
    assert len(sheets.uris) > 1
    each = sheets.columns * sheets.rows
    for place in (0, 1, each - 1, each, 1499):
        sheet, number = decoded(sheets.uris[place // each]), place % each
        top, left = number // sheets.columns * 24, number % sheets.columns * 48
        shown = sheet[top : top + 24, left : left + 48].reshape(-1, 3).astype(int)
        assert np.abs(shown - flat[place, 0, 0]).max() <= 6
    assert pack_sheets(strips) == sheets  # same pictures, same bytes


def test_too_much_for_a_page_gets_a_lower_quality():
    strips = np.random.default_rng(2).integers(0, 255, (40, 64, 64, 3)).astype(np.uint8)
    best = sum(map(len, pack_sheets(strips).uris))
    less = sum(map(len, pack_sheets(strips, most_chars=best // 2).uris))
    assert less <= best // 2


def test_colours_keep_the_full_resolution():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)
    image[:, 1::2] = (0, 0, 255)
    assert np.abs(decoded(jpeg_uri(image, 95)).astype(int) - image).max() < 60


def test_map_lies_where_the_network_looked():
    cam = np.zeros((40, 40), np.float32)
    cam[10:20, 30:40] = 1.0  # of the slide: x 60 to 80, y 20 to 40, at two pixels of the slide per pixel of the map
    one = CellCAM(cam, (0.0, 0.0, 80.0, 80.0))
    grounds = np.full((2, 16, 16, 3), 128, np.uint8)
    pictures = heat_pictures(grounds, np.array([[48, 16, 80, 48], [0, 40, 32, 72]]), [one, one])
    rows, columns = np.nonzero(pictures[0][..., 2] < 100)  # dark red
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 11, 6, 15)
    assert (pictures[1] == 128).all()  # what did not matter stays grey, however little there is else in the picture


def test_maps_are_shares_of_their_strongest_place():
    assert share_of_top(np.array([[0, 2.0], [4.0, 1]])).tolist() == [[0, 0.5], [1, 0.25]]
    assert not share_of_top(np.zeros((3, 3))).any()


def test_best_and_most_doubtful_cells_are_explained():
    count, _ = brightfield_count(size=640)
    chosen = choose_explained(count, 6)
    ctcs = sorted((c.score, k) for k, c in enumerate(count.cells) if c.class_name == "CTC")
    assert {k for _, k in ctcs[-3:]} <= set(chosen)
    assert len(set(chosen)) == 6
    assert choose_explained(imfish_count()[0], 6) == []
    assert choose_explained(brightfield_count(size=320, blank=True)[0], 6) == []


def test_a_rule_and_a_route_of_ones_own_have_no_grad_cam():
    assert explain_count(imfish_count()[0], RouteSpec("imfish", {})) == ({}, "")
    cams, note = explain_count(brightfield_count(size=320)[0], RouteSpec("lab.routes:Ours", {}))
    assert cams == {}
    assert "routes detect and classify" in note
