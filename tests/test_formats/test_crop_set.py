from dataclasses import replace

import numpy as np
import pytest

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.crop_set import CropOptions, cut_set
from ctc_mm.imaging.io import read_image, write_image
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

SMALL = CropOptions(size=20, center=50)


def _cells(seed, count=12, size_wh=(60, 60)):
    starts = np.random.default_rng(seed).integers(0, np.array(size_wh) - 8, (count, 2))
    return tuple(
        CellBox((float(x), float(y), x + 6.0, y + 7.0), "CTC", (((x, y), (x + 6, y), (x, y + 7)),))
        for x, y in starts.tolist()
    )


def _raw(folder, names=("a.png",), dtype=np.uint8, size_wh=(60, 60), **changes):
    """Images whose pixels are unique by place, so that a crop says where it came from."""
    images = []
    for index, name in enumerate(names):
        ramp = np.arange(size_wh[0] * size_wh[1]).reshape(size_wh[::-1]) % 4000
        write_image(folder / name, (ramp if dtype == np.uint16 else ramp % 251).astype(dtype))
        images.append(LabelledImage(name, size_wh, _cells(index), **changes))
    return LabelledSet(("CTC", "WBC"), tuple(images))


@pytest.mark.parametrize("overlap", [False, True])
def test_crops_are_pieces_of_their_image_and_boxes_move_along(tmp_path, overlap):
    raw = _raw(tmp_path / "raw", dtype=np.uint16, um_per_px=0.5, channel="BF", white_level=16383, group="P1")
    options = replace(SMALL, overlap=overlap, per_image=9)
    crops, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", options)
    assert len(crops.images) == (9 if overlap else 4)
    source = read_image(tmp_path / "raw/a.png")
    boxes = raw.images[0].boxes_xyxy
    whole = cut = 0
    for crop in crops.images:
        x0, y0 = crop.origin_xy
        assert crop.file_name == f"a_x{x0:04d}_y{y0:04d}.png"
        assert (crop.um_per_px, crop.channel, crop.white_level, crop.group) == (0.5, "BF", 16383, "P1")
        assert min(x0, y0) >= 5
        assert max(x0, y0) + 20 <= 55
        pixels = read_image(tmp_path / "out/images" / crop.file_name)
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, source[y0 : y0 + 20, x0 : x0 + 20])
        inside = (boxes[:, :2] >= (x0, y0)).all(1) & (boxes[:, 2:] <= (x0 + 20, y0 + 20)).all(1)
        touched = (boxes[:, :2] < (x0 + 20, y0 + 20)).all(1) & (boxes[:, 2:] > (x0, y0)).all(1)
        moved = [cell for cell in crop.cells if not cell.is_ignore]
        np.testing.assert_array_equal(
            np.array([cell.box_xyxy for cell in moved]).reshape(-1, 4), boxes[inside] - [x0, y0, x0, y0]
        )
        for cell in moved:
            assert cell.polygons_xy[0][0] == cell.box_xyxy[:2]
        assert all(cell.label is None for cell in crop.cells if cell.is_ignore)
        whole += inside.sum()
        cut += (touched & ~inside).sum()
    assert report.kept == whole > 0
    assert report.skipped_counts["cell cut by a crop's edge"] == report.ignore_regions == cut > 0


def test_what_is_left_of_a_cut_cell_is_ignored_or_dropped(tmp_path):
    image = LabelledImage("a.png", (20, 20), (CellBox((2, 3, 12, 9), "CTC"), CellBox((9.5, 0, 15, 4), "WBC")))
    write_image(tmp_path / "raw/a.png", np.zeros((20, 20), np.uint8))
    raw = LabelledSet(("CTC", "WBC"), (image,))
    options = CropOptions(size=10, center=10)
    crops, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", options)
    assert crops.images[0].origin_xy == (5, 5)
    assert crops.images[0].cells == (CellBox((0, 0, 7, 4), None, is_ignore=True),)
    assert report.skipped == {"cell cut by a crop's edge": ["a_x0005_y0005.png: CTC"]}
    crops, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", replace(options, cut_cells="drop"))
    assert crops.images[0].cells == ()
    assert report.skipped_counts == {"cell cut by a crop's edge": 1}


def test_ignore_regions_are_clipped_and_keep_their_class(tmp_path):
    cells = (CellBox((0, 0, 12, 9), "WBC", is_ignore=True), CellBox((6, 6, 8, 8), None, is_ignore=True))
    write_image(tmp_path / "raw/a.png", np.zeros((20, 20), np.uint8))
    raw = LabelledSet(("CTC", "WBC"), (LabelledImage("a.png", (20, 20), cells),))
    crops, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", CropOptions(size=10, center=10))
    assert crops.images[0].cells == (
        CellBox((0, 0, 7, 4), "WBC", is_ignore=True),
        CellBox((1, 1, 3, 3), None, is_ignore=True),
    )
    assert report.skipped == {}


def test_crops_of_a_test_set_do_not_overlap_and_those_for_training_may(tmp_path):
    raw = _raw(tmp_path / "raw")

    def most_often_seen(overlap):
        crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / "out", replace(SMALL, overlap=overlap))
        seen = np.zeros((60, 60), int)
        for x0, y0 in (crop.origin_xy for crop in crops.images):
            seen[y0 : y0 + 20, x0 : x0 + 20] += 1
        return seen.max()

    assert most_often_seen(False) == 1
    assert most_often_seen(True) > 1


def test_crops_hold_a_similar_number_of_cells(tmp_path):
    raw = _raw(tmp_path / "raw", ("a.png", "b.png", "c.png"))
    for overlap in (False, True):
        options = replace(SMALL, overlap=overlap, per_image=3, cells=(1, 2))
        crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / f"out{overlap}", options)
        assert crops.images
        assert {crop.num_cells for crop in crops.images} <= {1, 2}


def test_too_few_crops_are_noted(tmp_path):
    raw = _raw(tmp_path / "raw", ("a.png", "b.png"))
    blank = LabelledImage("blank.png", (60, 60))
    write_image(tmp_path / "raw/blank.png", np.zeros((60, 60), np.uint8))
    raw = replace(raw, images=(*raw.images, blank))
    _, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", replace(SMALL, cells=(1, 99), overlap=True))
    assert report.notes["fewer crops than wanted have a number of cells within --cells"] == ["blank.png"]
    with pytest.raises(AnnotationError, match="no crop came of 3 images"):
        cut_set(raw, tmp_path / "raw", tmp_path / "none", replace(SMALL, cells=(50, 99)))


def test_fields_without_cells_give_crops_without_cells(tmp_path):
    write_image(tmp_path / "raw/a.png", np.zeros((60, 60), np.uint8))
    raw = LabelledSet(("CTC",), (LabelledImage("a.png", (60, 60)),))
    _, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)
    assert (report.images, report.images_without_cells) == (4, 4)


def test_small_images_are_counted(tmp_path):
    write_image(tmp_path / "raw/s.png", np.zeros((60, 19), np.uint8))
    raw = _raw(tmp_path / "raw")
    raw = replace(raw, images=(*raw.images, LabelledImage("s.png", (19, 60))))
    _, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)
    assert report.skipped["image smaller than a crop"] == ["s.png"]
    assert report.images == 4


def test_windows_depend_on_seed_and_name_alone(tmp_path):
    alone = _raw(tmp_path / "raw", ("b.png",))
    both = _raw(tmp_path / "raw", ("a.png", "b.png"))

    def origins(raw, seed):
        crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / "out", replace(SMALL, seed=seed))
        return [crop.origin_xy for crop in crops.images if crop.file_name.startswith("b")]

    assert origins(alone, 0) == origins(both, 0) != origins(both, 1)


def test_white_levels_are_found_where_the_boxes_file_lacks_them(tmp_path):
    raw = _raw(tmp_path / "raw", dtype=np.uint16)
    crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)
    # The image reaches 3599, no crop has to.
    assert {crop.white_level for crop in crops.images} == {4095}


def test_gamma_and_stretch_act_on_the_raw_image(tmp_path):
    raw = _raw(tmp_path / "raw", dtype=np.uint16)
    options = replace(SMALL, gamma=1.5, stretch=True)
    crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / "out", options)
    source = read_image(tmp_path / "raw/a.png") / 4095.0
    darkened = np.rint(source**1.5 * 4095)
    expected = np.rint((darkened - darkened.min()) / (darkened.max() - darkened.min()) * 4095)
    for crop in crops.images:
        x0, y0 = crop.origin_xy
        pixels = read_image(tmp_path / "out/images" / crop.file_name)
        np.testing.assert_allclose(pixels, expected[y0 : y0 + 20, x0 : x0 + 20], atol=1)
    assert crops.info["crops"]["gamma"] == 1.5
    assert crops.info["crops"]["stretch"] is True


def test_float_images_stay_float(tmp_path):
    pixels = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    write_image(tmp_path / "raw/a.tif", pixels)
    raw = LabelledSet(("CTC",), (LabelledImage("a.tif", (60, 60)),))
    crops, _ = cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)
    crop = crops.images[0]
    x0, y0 = crop.origin_xy
    assert crop.file_name.endswith(".tif")
    np.testing.assert_array_equal(
        read_image(tmp_path / "out/images" / crop.file_name), pixels[y0 : y0 + 20, x0 : x0 + 20]
    )


def test_files_that_are_not_part_of_the_set_are_named(tmp_path):
    raw = _raw(tmp_path / "raw")
    write_image(tmp_path / "raw/other.png", np.zeros((60, 60), np.uint8))
    write_image(tmp_path / "out/images/old.png", np.zeros((20, 20), np.uint8))
    _, report = cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)
    assert report.skipped["image that the boxes file does not name"] == ["other.png"]
    assert report.notes["file of an earlier run, not part of this set"] == ["old.png"]


@pytest.mark.parametrize(
    ("name", "size_wh", "error", "message"),
    [
        ("none.png", (60, 60), ImageReadError, "none.png"),
        ("a.png", (61, 60), AnnotationError, "a.png in the boxes file: .* 61 x 60 px, but .* 60 x 60"),
        ("broken.png", (60, 60), ImageReadError, "broken.png"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, name, size_wh, error, message):
    _raw(tmp_path / "raw")
    (tmp_path / "raw/broken.png").write_bytes((tmp_path / "raw/a.png").read_bytes()[:60])
    raw = LabelledSet(("CTC",), (LabelledImage(name, size_wh, white_level=255),))
    with pytest.raises(error, match=message):
        cut_set(raw, tmp_path / "raw", tmp_path / "out", SMALL)


def test_two_images_of_one_stem_are_refused(tmp_path):
    raw = LabelledSet(("CTC",), tuple(LabelledImage(name, (60, 60), white_level=255) for name in ("a.png", "a.tif")))
    with pytest.raises(AnnotationError, match="2 images are named a with different suffixes"):
        cut_set(raw, tmp_path, tmp_path / "out", SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "at least 1"),
        ({"per_image": 0}, "at least 1"),
        ({"seed": -1}, "`seed`"),
        ({"size": 900}, r"`center` \(850\) must be at least `size` \(900\)"),
        ({"cells": (5, 3)}, "MIN <= MAX"),
        ({"cells": (-1, 3)}, "0 <= MIN"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CropOptions(**changes)
