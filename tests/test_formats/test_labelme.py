import base64
import json
import math

import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.assemble import Acquisition
from ctc_mm.formats.labelme import LabelmeShape, read_embedded_image, read_labelme


def _shape(**changes):
    shape = {"label": "ctc", "points": [[1, 2], [5, 8]], "shape_type": "rectangle", "group_id": None, "flags": {}}
    return shape | changes


def _write(path, shapes=(), **changes):
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": "a.png",
        "imageData": None,
        "imageHeight": 30,
        "imageWidth": 40,
    }
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_a_file_without_shapes_is_a_field_without_cells(tmp_path):
    file = read_labelme(_write(tmp_path / "a.json"))
    assert (file.shapes, file.size_wh, file.image_path, file.has_embedded, file.flags) == (
        (),
        (40, 30),
        "a.png",
        False,
        (),
    )


@pytest.mark.parametrize(
    ("shape_type", "points", "expected"),
    [
        ("rectangle", [[5, 8], [1, 2]], (1, 2, 5, 8)),
        ("rectangle", [[5, 2], [1, 8]], (1, 2, 5, 8)),
        ("polygon", [[3, 1], [6, 4], [2, 7]], (2, 1, 6, 7)),
        ("circle", [[10, 10], [13, 14]], (5, 5, 15, 15)),
        ("points", [[3, 1], [6, 4]], (3, 1, 6, 4)),
        ("mask", [[3, 1], [6, 4]], (3, 1, 7, 5)),
        ("oriented_rectangle", [[5, 0], [10, 5], [5, 10], [0, 5]], (0, 0, 10, 10)),
    ],
)
def test_boxes_of_shapes(tmp_path, shape_type, points, expected):
    shape = read_labelme(_write(tmp_path / "a.json", [_shape(shape_type=shape_type, points=points)])).shapes[0]
    assert shape.box_xyxy == pytest.approx(expected)


def test_outlines_are_kept_for_kinds_that_have_one():
    points = ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0))
    assert LabelmeShape("", "a", points, "polygon", None).polygon_xy == points
    assert LabelmeShape("", "a", points[:2], "rectangle", None).polygon_xy is None


@pytest.mark.parametrize("version", ["4.5.6", "5.8.1", "6.0.0", None])
def test_versions_4_to_6(tmp_path, version):
    # 4: no description, no mask; 5 and 6: both, and a mask shape carries base64.
    shape = _shape() if version == "4.5.6" else _shape(description="", mask=None)
    assert len(read_labelme(_write(tmp_path / "a.json", [shape], version=version)).shapes) == 1


def test_older_files_without_type_hold_polygons(tmp_path):
    points = [[0, 0], [4, 0], [0, 4]]
    shapes = [{"label": "ctc", "points": points}, _shape(shape_type=None, points=points)]
    file = read_labelme(_write(tmp_path / "a.json", shapes, imageHeight=None, imageWidth=None))
    assert [shape.shape_type for shape in file.shapes] == ["polygon", "polygon"]
    assert file.size_wh is None


def test_flags_that_are_set_are_named(tmp_path):
    assert read_labelme(_write(tmp_path / "a.json", flags={"blurred": True, "blank": False})).flags == ("blurred",)


def test_scale_and_the_like_are_read_where_a_file_has_them(tmp_path):
    assert read_labelme(_write(tmp_path / "a.json")).known == Acquisition()
    keys = {"um_per_px": 0.5, "channel": "BF", "white_level": 4095, "group": 7}
    assert read_labelme(_write(tmp_path / "a.json", **keys)).known == Acquisition(0.5, "BF", 4095, "7")
    with pytest.raises(AnnotationError, match="a.json: um_per_px: must be a number above 0. Received: 0"):
        read_labelme(_write(tmp_path / "a.json", um_per_px=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 3}, r"shapes\[1\].label: must be text"),
        ({"label": " "}, r"shapes\[1\].label: must be text that is not empty"),
        ({"points": [[1, 2]]}, r"shapes\[1\].points: a rectangle has 2 points. Received: 1"),
        ({"points": [[1, 2], [3, 4], [5, 6]]}, "a rectangle has 2 points. Received: 3"),
        ({"points": []}, "a rectangle has 2 points. Received: 0"),
        ({"points": [], "shape_type": "star"}, "a star has at least 1 points. Received: 0"),
        ({"shape_type": "polygon"}, "a polygon has at least 3 points. Received: 2"),
        ({"shape_type": "circle", "points": [[1, 2]]}, "a circle has 2 points"),
        ({"points": [[1, 2], [3, "4"]]}, r"shapes\[1\].points\[1\]\[1\]: must be a finite number"),
        ({"points": [[1, 2], [3, True]]}, r"points\[1\]\[1\]: must be a finite number. Received: True"),
        ({"points": [[1, 2], [3]]}, r"points\[1\]: must be a list of 2 numbers"),
        ({"points": {"x": 1}}, r"shapes\[1\].points: must be a list"),
        ({"shape_type": 7}, r"shapes\[1\].shape_type: must be text"),
        ({"group_id": True}, r"shapes\[1\].group_id: must be a finite number"),
        ({"group_id": 1.5}, r"shapes\[1\].group_id: must be a whole number"),
    ],
)
def test_a_broken_shape_is_named_by_file_and_index(tmp_path, changes, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        read_labelme(_write(tmp_path / "broken.json", [_shape(), _shape(**changes)]))
    assert "broken.json: " in str(caught.value)


def test_a_number_beyond_all_bounds_is_named(tmp_path):
    path = _write(tmp_path / "a.json", [_shape(points=[[1, 2], [3, 123456789]])])
    path.write_text(path.read_text().replace("123456789", "1e999"))
    with pytest.raises(AnnotationError, match=r"shapes\[0\].points\[1\]\[1\]: must be a finite number. Received: inf"):
        read_labelme(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": {}}, "shapes: must be a list"),
        ({"shapes": [[]]}, r"shapes\[0\]: must be an object"),
        ({"imagePath": None}, "imagePath: must be text"),
        ({"imageWidth": True}, "imageWidth: must be a finite number. Received: True"),
        ({"imageHeight": 0}, "imageHeight: must be a whole number of at least 1"),
        ({"imageData": 5}, "imageData: must be text"),
        ({"flags": []}, "flags: must be an object"),
    ],
)
def test_a_broken_file_is_named(tmp_path, changes, message):
    with pytest.raises(AnnotationError, match=message):
        read_labelme(_write(tmp_path / "a.json", **changes))


def test_another_json_file_is_no_labelme_file(tmp_path):
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(AnnotationError, match="coco.json: lacks the key 'shapes', so it is no Labelme file"):
        read_labelme(tmp_path / "coco.json")


def test_the_embedded_image_comes_out_as_it_is(tmp_path):
    data = b"\xff\xd8\xff rest"
    path = _write(tmp_path / "a.json", imageData=base64.b64encode(data).decode())
    assert read_labelme(path).has_embedded
    assert read_embedded_image(path) == (data, ".jpg")


@pytest.mark.parametrize(("text", "message"), [("!!", "no base64"), ("AAAA", "neither PNG nor JPEG")])
def test_an_embedded_image_that_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=f"a.json: imageData: is.* ?{message}"):
        read_embedded_image(_write(tmp_path / "a.json", imageData=text))


def test_a_circle_of_no_radius_has_no_area():
    x0, y0, x1, y1 = LabelmeShape("", "a", ((3.0, 3.0), (3.0, 3.0)), "circle", None).box_xyxy
    assert math.isclose(x0, x1)
    assert math.isclose(y0, y1)
