import numpy as np
import pytest

from ctc_mm.structures import CellBox, LabelledImage, LabelledSet


def test_an_image_without_cells_has_an_empty_box_array():
    image = LabelledImage("a/b.png", (10, 20))
    assert image.boxes_xyxy.shape == (0, 4)
    assert image.boxes_xyxy.dtype == np.float32
    assert image.num_cells == 0
    assert image.group == "b"


def test_ignore_regions_are_boxes_but_not_cells():
    image = LabelledImage(
        "a.png", (10, 10), (CellBox((0, 0, 2, 2), "CTC"), CellBox((1, 1, 3, 4), None, is_ignore=True))
    )
    assert image.num_cells == 1
    np.testing.assert_array_equal(image.boxes_xyxy, [[0, 0, 2, 2], [1, 1, 3, 4]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"box_xyxy": (0, 0, float("nan"), 1), "label": "CTC"}, "finite"),
        ({"box_xyxy": (3, 0, 3, 1), "label": "CTC"}, "positive area"),
        ({"box_xyxy": (0, 2, 3, 1), "label": "CTC"}, "positive area"),
        ({"box_xyxy": (0, 0, 1, 1), "label": None}, "None only for an ignore region"),
        ({"box_xyxy": (0, 0, 1, 1), "label": "__ignore__", "is_ignore": True}, "class name"),
        ({"box_xyxy": (0, 0, 1, 1), "label": ""}, "class name"),
    ],
)
def test_a_cell_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        CellBox(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"file_name": "/a.png"}, "relative POSIX"),
        ({"file_name": "../a.png"}, "relative POSIX"),
        ({"file_name": "a\\b.png"}, "relative POSIX"),
        ({"file_name": ""}, "relative POSIX"),
        ({"size_wh": (0, 5)}, "at least 1 x 1"),
        ({"um_per_px": 0.0}, "`um_per_px`"),
        ({"white_level": float("inf")}, "`white_level`"),
        ({"cells": (CellBox((0, 0, 9, 9), "CTC"),)}, "inside the image of 8 x 8"),
    ],
)
def test_an_image_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelledImage(**{"file_name": "a.png", "size_wh": (8, 8)} | arguments)


def test_a_set_sorts_its_images():
    labelled = LabelledSet(("CTC",), tuple(LabelledImage(name, (4, 4)) for name in ("b.png", "a.png")))
    assert [image.file_name for image in labelled.images] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("classes", "names", "label", "message"),
    [
        ((), ["a.png"], "CTC", "distinct class names"),
        (("CTC", "CTC"), ["a.png"], "CTC", "distinct class names"),
        (("CTC", "__ignore__"), ["a.png"], "CTC", "distinct class names"),
        (("CTC",), ["a.png", "a.png"], "CTC", "Received twice: a.png"),
        (("CTC",), ["a.png"], "WBC", r"a.png has labels \['WBC'\]"),
    ],
)
def test_a_set_refuses(classes, names, label, message):
    images = tuple(LabelledImage(name, (4, 4), (CellBox((0, 0, 1, 1), label),)) for name in names)
    with pytest.raises(ValueError, match=message):
        LabelledSet(classes, images)
