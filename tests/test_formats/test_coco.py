import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.coco import read_coco, write_coco
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

SET = LabelledSet(
    ("CTC", "WBC"),
    (
        LabelledImage("s/b.png", (40, 30), (), group="P1", um_per_px=0.5, channel="BF", white_level=4095),
        LabelledImage(
            "a.png",
            (40, 30),
            (
                CellBox((1.25, 2, 11.25, 8), "WBC", (((1.25, 2), (11.25, 2), (5, 8)),)),
                CellBox((0, 0, 4, 4), None, is_ignore=True),
                CellBox((30, 20, 40, 30), "CTC"),
            ),
            origin_xy=(7, 9),
        ),
    ),
    {"converter": "test"},
)


def _write(path, **changes):
    content = {
        "categories": [{"id": 5, "name": "WBC"}, {"id": 2, "name": "CTC"}],
        "images": [{"id": 9, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4]}],
    }
    path.write_text(json.dumps(content | changes))
    return path


def test_an_empty_set_of_images_is_written_and_read(tmp_path):
    write_coco(tmp_path / "a.json", LabelledSet(("CTC",), ()))
    assert read_coco(tmp_path / "a.json") == LabelledSet(("CTC",), ())


def test_what_is_written(tmp_path):
    write_coco(tmp_path / "a.json", SET)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "CTC"}, {"id": 2, "name": "WBC"}]
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "width": 40, "height": 30, "group": "a", "x0": 7, "y0": 9},
        {
            "id": 2,
            "file_name": "s/b.png",
            "width": 40,
            "height": 30,
            "group": "P1",
            "um_per_px": 0.5,
            "channel": "BF",
            "white_level": 4095,
        },
    ]
    keys = ("id", "image_id", "category_id", "bbox", "iscrowd", "area")
    assert [tuple(entry[key] for key in keys) for entry in content["annotations"]] == [
        (1, 1, 2, [1.25, 2, 10, 6], 0, 60),
        (2, 1, 1, [0, 0, 4, 4], 1, 16),
        (3, 1, 2, [0, 0, 4, 4], 1, 16),
        (4, 1, 1, [30, 20, 10, 10], 0, 100),
    ]
    assert content["annotations"][0]["segmentation"] == [[1.25, 2, 11.25, 2, 5, 8]]


def test_there_and_back(tmp_path):
    write_coco(tmp_path / "a.json", SET)
    back = read_coco(tmp_path / "a.json")
    assert back.classes == SET.classes
    assert back.images[1] == SET.images[1]
    # An ignore region of every class comes back as one of each.
    ignored = [CellBox((0, 0, 4, 4), name, is_ignore=True) for name in ("CTC", "WBC")]
    assert back.images[0].cells == (SET.images[0].cells[0], *ignored, SET.images[0].cells[2])
    write_coco(tmp_path / "b.json", back)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_pycocotools_reads_it(tmp_path):
    write_coco(tmp_path / "a.json", SET)
    coco = COCO(str(tmp_path / "a.json"))
    assert len(coco.getAnnIds(catIds=[1], iscrowd=True)) == 1
    assert len(coco.getImgIds()) == 2
    assert coco.annToMask(coco.anns[1]).sum() == pytest.approx(30, abs=6)


def test_coordinates_are_rounded_to_a_thousandth_and_stay_inside(tmp_path):
    cell = CellBox((1 / 3, 0.1, 40, 29.99999), "CTC")
    write_coco(tmp_path / "a.json", LabelledSet(("CTC",), (LabelledImage("a.png", (40, 30), (cell,)),)))
    box = read_coco(tmp_path / "a.json").images[0].cells[0].box_xyxy
    np.testing.assert_allclose(box, cell.box_xyxy, atol=0.002)
    assert box[2] <= 40


def test_categories_are_classes_in_the_order_of_their_ids(tmp_path):
    labelled = read_coco(_write(tmp_path / "a.json"))
    assert labelled.classes == ("CTC", "WBC")
    assert labelled.images[0].cells == (CellBox((1, 2, 4, 6), "WBC"),)
    assert labelled.images[0].group == "a"


def _annotation(**changes):
    return {"annotations": [{"id": 1, "image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4]} | changes]}


def _image(**changes):
    return {"images": [{"id": 9, "file_name": "a.png", "width": 40, "height": 30} | changes]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": []}, "categories: must list at least one"),
        (
            {"categories": [{"id": 5, "name": "A"}, {"id": 5, "name": "B"}]},
            r"categories\[1\]: category 5 'B' is there twice",
        ),
        ({"categories": [{"id": 5, "name": "A"}, {"id": 6, "name": "A"}]}, "is there twice"),
        ({"categories": None}, "categories: must be a list"),
        ({"images": {}}, "images: must be a list"),
        ({"images": _image()["images"] * 2}, r"images\[1\]: image id 9 is used twice"),
        ({"images": [*_image()["images"], *_image(id=10)["images"]]}, "distinct file names"),
        (_image(width=0), r"images\[0\].width: must be a whole number of at least 1"),
        (_image(file_name="../a.png"), r"images\[0\]: `file_name` must be a relative"),
        (_image(um_per_px="0.5"), r"images\[0\].um_per_px: must be a finite number"),
        (_image(white_level=-1), r"images\[0\]: `white_level` must be a positive"),
        (_annotation(image_id=8), r"annotations\[0\]: image_id 8 names no image"),
        (_annotation(category_id=1), r"category_id 1 is none of the categories \[2, 5\]"),
        (_annotation(bbox=[1, 2, 3]), r"annotations\[0\].bbox: must be a list of 4 numbers"),
        (_annotation(bbox=[1, 2, 0, 4]), r"annotations\[0\]: .*positive area"),
        (_annotation(bbox=[1, 2, -3, 4]), r"positive area|leaves the image"),
        (_annotation(bbox=[38, 2, 3, 4]), "leaves the image of 40 x 30 px"),
        (_annotation(bbox=[1, 2, True, 4]), r"bbox\[2\]: must be a finite number"),
        (_annotation(segmentation=[[1, 2, 3, 4]]), r"segmentation\[0\]: must be x, y pairs"),
        ({"annotations": _annotation()["annotations"] * 2}, "annotation id 1 is used twice"),
    ],
)
def test_the_reader_refuses(tmp_path, changes, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        read_coco(_write(tmp_path / "broken.json", **changes))
    assert "broken.json" in str(caught.value)


def test_run_length_masks_are_passed_over(tmp_path):
    changes = _annotation(segmentation={"counts": [1, 2], "size": [30, 40]}, iscrowd=1)
    assert read_coco(_write(tmp_path / "a.json", **changes)).images[0].cells[0].is_ignore
