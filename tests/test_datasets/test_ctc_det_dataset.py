import copy
import json

import numpy as np
import pytest

from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.imaging.io import write_png
from ctc_mm.registry import DATASETS

CATEGORIES = [dict(id=1, name="CTC"), dict(id=2, name="WBC")]


def annotation(number, image_id, bbox, category_id=1, **extra):
    return (
        dict(id=number, image_id=image_id, category_id=category_id, bbox=bbox, area=bbox[2] * bbox[3], iscrowd=0)
        | extra
    )


@pytest.fixture
def coco(tmp_path):
    """Three images of 40 x 30 px: two cells and an ignore region, one cell, none."""
    for name in "abc":
        write_png(tmp_path / "images" / f"{name}.png", np.full((30, 40, 3), 90, np.uint8))
    return dict(
        images=[
            dict(id=i, file_name=f"{name}.png", width=40, height=30, um_per_px=0.5, channel="brightfield", group=name)
            for i, name in enumerate("abc")
        ],
        annotations=[
            annotation(1, 0, [2, 3, 10, 12]),
            annotation(2, 0, [20, 5, 8, 8], category_id=2),
            annotation(3, 0, [30, 20, 10, 10], iscrowd=1),
            annotation(4, 1, [0, 0, 9, 9], category_id=2),
        ],
        categories=copy.deepcopy(CATEGORIES),
    )


def build(tmp_path, coco, **kwargs):
    (tmp_path / "a.json").write_text(json.dumps(coco))
    return DATASETS.build(
        dict(type="ctc_mm.CTCDetDataset", data_root=str(tmp_path), ann_file="a.json",
             data_prefix=dict(img="images/"), pipeline=[]) | kwargs
    )  # fmt: skip


def test_file_without_images_is_refused(tmp_path, coco):
    with pytest.raises(AnnotationError, match=r"a\.json: it names no image"):
        build(tmp_path, coco | dict(images=[], annotations=[]))


def test_labels_boxes_and_ignore_flags(tmp_path, coco):
    info = build(tmp_path, coco)[0]
    assert [(i["bbox"], i["bbox_label"], i["ignore_flag"]) for i in info["instances"]] == [
        ([2, 3, 12, 15], 0, 0),
        ([20, 5, 28, 13], 1, 0),
        ([30, 20, 40, 30], 0, 1),
    ]
    assert info["um_per_px"] == 0.5
    assert info["group"] == "a"


@pytest.mark.parametrize("test_mode", [False, True], ids=["training", "test"])
def test_image_without_cells_stays(tmp_path, coco, test_mode):
    dataset = build(tmp_path, coco, test_mode=test_mode)
    assert len(dataset) == 3
    assert dataset.get_data_info(2)["instances"] == []


def test_metainfo_remembers_the_images(tmp_path, coco):
    metainfo = build(tmp_path, coco).metainfo
    assert metainfo["classes"] == ("CTC", "WBC")
    assert metainfo["target"] == "CTC"
    assert metainfo["um_per_px"] == 0.5
    assert metainfo["channel"] == "brightfield"
    assert "white_level" not in metainfo


def test_metainfo_remembers_the_size_of_images_of_one_size(tmp_path, coco):
    one = {(image["width"], image["height"]) for image in coco["images"]}
    assert build(tmp_path, coco).metainfo["image_wh"] == one.pop()
    assert not one
    coco["images"][0]["width"] += 1
    assert "image_wh" not in build(tmp_path, coco).metainfo


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((0.5, 0.52, 0.54), 0.52), ((0.5, 0.5, 0.9), None), ((0.5, None, None), 0.5)],
    ids=["within_10_percent", "too_far_apart", "partly_known"],
)
def test_pixel_size_of_several_images(tmp_path, coco, sizes, expected):
    for image, size in zip(coco["images"], sizes, strict=True):
        image["um_per_px"] = size
        if size is None:
            del image["um_per_px"]
    assert build(tmp_path, coco).metainfo.get("um_per_px") == expected


def test_what_cannot_be_used_is_counted_by_reason(tmp_path, coco):
    coco["annotations"] += [
        annotation(5, 1, [5, 5, 0, 9]),
        annotation(6, 1, [5, 5, 9, 0.5]),
        annotation(7, 1, [60, 5, 9, 9]),
        annotation(8, 1, [-20, 5, 9, 9]),
        annotation(9, 1, [5, 5, 9, 9], ignore=True),
    ]
    dataset = build(tmp_path, coco)
    assert dataset.dropped == {"box under 1 px": 2, "box outside the image": 2, "box marked `ignore`": 1}
    kept = sum(len(dataset.get_data_info(i)["instances"]) for i in range(3))
    assert kept + dataset.dropped.total() == len(coco["annotations"])


def test_filtered_images_are_counted(tmp_path, coco):
    dataset = build(tmp_path, coco, filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 2
    assert dataset.dropped["image left out by filter_cfg"] == 1


@pytest.mark.parametrize("names", [["WBC", "CTC"], ["CTC"], ["CTC", "WBC", "RBC"], ["ctc", "wbc"]], ids="-".join)
def test_other_classes_than_configured_are_refused(tmp_path, coco, names):
    """CocoDataset would take labels in the file's order and names in the config's."""
    coco["categories"] = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    with pytest.raises(AnnotationError, match=r"a\.json.*categories are .*metainfo\.classes are \['CTC', 'WBC'\]"):
        build(tmp_path, coco)


def test_one_class_and_named_target(tmp_path, coco):
    one = copy.deepcopy(coco) | dict(categories=CATEGORIES[:1])
    one["annotations"] = [a for a in one["annotations"] if a["category_id"] == 1]
    assert build(tmp_path, one, metainfo=dict(classes=("CTC",))).metainfo["target"] == "CTC"
    assert build(tmp_path, coco, metainfo=dict(classes=("CTC", "WBC"), target="WBC")).metainfo["target"] == "WBC"
    with pytest.raises(ConfigError, match="target='RBC' is not one of"):
        build(tmp_path, coco, metainfo=dict(classes=("CTC", "WBC"), target="RBC"))


def test_missing_images_are_all_counted_before_training(tmp_path, coco):
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(ImageReadError, match=r"2 of 3 images are not on disk.*b\.png.*c\.png.*data_prefix\.img"):
        build(tmp_path, coco)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not complete JSON"),
        ("[]", r"must be an object"),
        ("{}", r"not COCO JSON.*\['images', 'annotations', 'categories'\]"),
        ('{"images": [], "annotations": {}, "categories": []}', r"\['annotations'\]"),
    ],
    ids=["truncated", "list", "other_file", "wrong_type"],
)
def test_bad_file_is_named(tmp_path, coco, text, message):
    dataset = build(tmp_path, coco, lazy_init=True)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.json.*" + message):
        dataset.full_init()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][1].pop("bbox"), r"annotations\[1\]: lacks the key 'bbox'"),
        (lambda c: c["annotations"][1].pop("area"), r"annotations\[1\]: lacks the key 'area'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"annotations\[0\]\.bbox: must be a list of 4 numbers"),
        (lambda c: c["annotations"][0].update(image_id=99), r"annotations\[0\]: image_id 99 is not in the file's list"),
        (lambda c: c["annotations"][0].update(category_id=9), r"annotations\[0\]: category_id 9 is not in the file's"),
        (lambda c: c["images"][2].pop("width"), r"images\[2\]: lacks the key 'width'"),
        (lambda c: c["images"][0].update(height=0), r"images\[0\]\.height: must be a whole number of at least 1"),
        (lambda c: c["categories"][0].pop("name"), r"categories\[0\]: lacks the key 'name'"),
    ],
    ids=["no_box", "no_area", "short_box", "no_such_image", "no_such_class", "no_width", "no_height", "no_name"],
)
def test_bad_records_are_named(tmp_path, coco, change, message):
    """MMDetection skips the unknown in silence and ends with a bare KeyError on the rest."""
    change(coco)
    with pytest.raises(AnnotationError, match=r"a\.json: " + message):
        build(tmp_path, coco)


def test_missing_file_says_how_to_make_it(tmp_path, coco):
    with pytest.raises(AnnotationError, match=r"nowhere\.json: no such annotation file.*labelme_to_coco"):
        build(tmp_path, coco, ann_file="nowhere.json")


TRAIN_STEPS = [
    dict(type="ctc_mm.LoadMicroscopyImage"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
    dict(type="ctc_mm.ShiftScaleFlip", shift_px=(18, 0), shift_prob=1.0, scale_prob=0.0, flip_prob=0.0,
         mirror_prob=0.0),
    dict(type="mmdet.PackDetInputs"),
]  # fmt: skip


@pytest.mark.parametrize("test_mode", [False, True], ids=["training", "test"])
def test_cells_left_out_by_transforms_are_noted_in_the_sample(tmp_path, coco, test_mode):
    """A shift by 18 px either way pushes one of the first image's two cells out; the third image has none to lose."""
    dataset = build(tmp_path, coco, pipeline=TRAIN_STEPS, test_mode=test_mode)
    np.random.seed(0)  # noqa: NPY002  # mmcv's transforms draw from it
    first, blank = (dataset[index]["data_samples"] for index in (0, 2))
    if test_mode:
        assert "dropped_cells" not in first.metainfo
        return
    assert first.metainfo["cells_before_transforms"] == 2
    assert first.metainfo["dropped_cells"] == 2 - len(first.gt_instances) == 1
    assert blank.metainfo["dropped_cells"] == 0


@pytest.mark.parametrize(
    ("crops", "step", "option"),
    [
        (dict(gamma=1.5, stretch=False), dict(type="ctc_mm.GammaTransform"), "--gamma"),
        (dict(gamma=None, stretch=True), dict(type="ctc_mm.HistogramStretch"), "--stretch"),
    ],
    ids=["gamma", "stretch"],
)
def test_brightness_is_not_changed_twice(tmp_path, coco, crops, step, option):
    coco["info"] = dict(crops=crops)
    with pytest.raises(ConfigError, match=rf"a\.json: its crops were made with .*{option}"):
        build(tmp_path, coco, pipeline=[step])
    assert len(build(tmp_path, coco, pipeline=[])) == 3
    coco["info"]["crops"] = dict(gamma=None, stretch=False)
    assert len(build(tmp_path, coco, pipeline=[step])) == 3
