"""The set on disk: what Labelme files say is what the fields hold, byte for byte the same each time."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ctc_mm.formats.labelme import read_labelme
from ctc_mm.imaging.io import read_image
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field, write_labelme_set
from ctc_mm.phantoms.labelme_set import outline_polygons, to_labelme

CONFIG = BrightfieldPhantomConfig(image_wh=(160, 128), ctc_count=(1, 2), wbc_count=(1, 3), debris_count=(0, 5))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_set_of_no_fields(tmp_path):
    summary = write_labelme_set(tmp_path, {"train": 0}, CONFIG)
    assert summary["train"].fields == 0
    assert summary["train"].cells == {"CTC": 0, "WBC": 0}
    assert list(contents(tmp_path)) == ["about.txt"]
    assert write_labelme_set(tmp_path / "none", {}, CONFIG) == {}


def test_same_seed_same_bytes_and_independent_splits(tmp_path):
    write_labelme_set(tmp_path / "a", {"train": 3, "val": 2}, CONFIG, seed=5)
    write_labelme_set(tmp_path / "b", {"val": 2, "train": 3}, CONFIG, seed=5)
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert {k: v for k, v in first.items() if k != "about.txt"} == {k: v for k, v in second.items() if k != "about.txt"}
    write_labelme_set(tmp_path / "a", {"train": 3, "val": 2}, CONFIG, seed=5)
    assert contents(tmp_path / "a") == first, "written again over itself"
    images = [v for k, v in first.items() if k.endswith(".png")]
    assert len(set(images)) == len(images) == 5, "no field occurs twice"
    write_labelme_set(tmp_path / "c", {"train": 4}, CONFIG, seed=5)
    longer = contents(tmp_path / "c")
    assert all(longer[k] == v for k, v in first.items() if k.startswith("train/")), "a longer set begins the same"
    write_labelme_set(tmp_path / "d", {"train": 1}, CONFIG, seed=6)
    assert contents(tmp_path / "d")["train/train_0000.png"] not in images


@pytest.mark.parametrize("shape_type", ["rectangle", "polygon"])
def test_shapes_bound_the_cells_exactly(tmp_path, shape_type):
    field = generate_field(replace(CONFIG, touching_fraction=0.9), np.random.default_rng(1), blank=False)
    content = to_labelme(field, "x.png", shape_type)
    assert (content["imageWidth"], content["imageHeight"]) == (160, 128)
    assert (content["um_per_px"], content["white_level"]) == (0.6, 255)
    assert len(content["shapes"]) >= len(field.labels)
    groups = {}
    for index, shape in enumerate(content["shapes"]):
        groups.setdefault(("group", shape["group_id"]) if shape["group_id"] is not None else index, []).append(shape)
    assert len(groups) == len(field.labels)
    for cell, shapes in enumerate(groups.values()):
        points = np.concatenate([shape["points"] for shape in shapes])
        box = [*points.min(axis=0), *points.max(axis=0)]
        np.testing.assert_array_equal(box, field.boxes_xyxy[cell])
        assert {shape["label"] for shape in shapes} == {("CTC", "WBC")[field.labels[cell]]}
        assert {shape["shape_type"] for shape in shapes} == {shape_type}


def test_outlines_follow_pixel_edges_and_cover_the_mask():
    assert outline_polygons(np.zeros((4, 4), bool)) == []
    single = np.zeros((3, 4), bool)
    single[1, 2] = True
    points = np.array(outline_polygons(single, (10, 20))[0])
    np.testing.assert_array_equal([points.min(axis=0), points.max(axis=0)], [[12, 21], [13, 22]])
    two = np.zeros((9, 9), bool)
    two[1:3, 1:3] = two[5:8, 5:9] = True
    assert len(outline_polygons(two)) == 2
    y, x = np.mgrid[:40, :40]
    blob = (y - 18) ** 2 + 0.6 * (x - 20) ** 2 < 150
    (polygon,) = outline_polygons(blob)
    area = cv2.contourArea(np.array(polygon, np.float32))
    assert area == pytest.approx(blob.sum(), rel=0.02)


def test_files_read_back_by_the_converters_reader_and_16_bit(tmp_path):
    config = replace(CONFIG, bit_depth=12, blank_fraction=0.5)
    summary = write_labelme_set(tmp_path, {"train": 6}, config, seed=2)["train"]
    assert summary.blank_fields == 3
    counts = {"CTC": 0, "WBC": 0}
    blank = 0
    for path in sorted((tmp_path / "train").glob("*.json")):
        file = read_labelme(path)
        assert file.image_path == f"{path.stem}.png"
        image = read_image(path.with_suffix(".png"))
        assert image.dtype == np.uint16
        assert 1023 < image.max() <= 4095
        for shape in file.shapes:
            counts[shape.label] += 1
        blank += not file.shapes
        assert json.loads(path.read_text())["imageData"] is None
    assert counts == summary.cells
    assert blank == 3
    assert summary.cells["CTC"] >= 3


@pytest.mark.parametrize(
    ("fraction", "fields", "blank"), [(0.0, 5, 0), (0.1, 5, 1), (0.1, 20, 2), (0.25, 8, 2), (1.0, 3, 3)]
)
def test_blank_fields_are_a_fixed_share(tmp_path, fraction, fields, blank):
    config = replace(CONFIG, image_wh=(48, 48), blank_fraction=fraction)
    assert write_labelme_set(tmp_path, {"test": fields}, config)["test"].blank_fields == blank


def test_fields_of_another_set_are_not_mixed_in(tmp_path):
    write_labelme_set(tmp_path, {"train": 3}, CONFIG)
    with pytest.raises(ValueError, match=r"train: holds 2 files that are not of this set \(train_0002\.json"):
        write_labelme_set(tmp_path, {"train": 2}, CONFIG)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape_type": "circle"}, "one of .'rectangle', 'polygon'"),
        ({"seed": -1}, "`seed`"),
        ({"fields_per_split": {"../up": 1}}, "split's name"),
        ({"fields_per_split": {"train": -1}}, "train=-1"),
    ],
)
def test_wrong_requests_write_nothing(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_labelme_set(tmp_path / "out", **{"fields_per_split": {"train": 1}, "config": CONFIG, **wrong})
    assert not (tmp_path / "out").exists()


def test_about_file_says_synthetic_and_gives_the_seed(tmp_path):
    write_labelme_set(tmp_path, {"train": 1}, CONFIG, seed=11)
    text = (tmp_path / "about.txt").read_text()
    assert "Synthetic" in text
    assert "No claim about real CTCs" in text
    assert "seed: 11" in text
