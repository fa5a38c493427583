"""Single cells from boxes: place, classes, what is carried on and what is left out."""

import json

import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.formats.coco import write_coco
from ctc_mm.imaging.io import write_image
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

PIXELS = np.random.default_rng(0).integers(0, 4000, (60, 80), dtype=np.uint16)


@pytest.fixture
def convert(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "data_converters"))
    import coco_to_cells

    return coco_to_cells.main


@pytest.fixture
def boxes(tmp_path):
    """Two fields with cells and one without."""
    cells = (
        CellBox((20, 10, 30, 24), "CTC"),
        CellBox((0, 0, 8, 8), "WBC"),
        CellBox((40, 40, 52, 50), None, is_ignore=True),
        CellBox((60, 40, 70.5, 49.25), "WBC"),
    )
    images = (
        LabelledImage("a/f0.png", (80, 60), cells, group="P1", um_per_px=0.5, channel="bf", white_level=4095),
        LabelledImage("a/f1.png", (80, 60), cells[:1], group="P2", um_per_px=0.5, white_level=4095),
        LabelledImage("f1.png", (80, 60), (), group="P2", um_per_px=0.5, white_level=4095),
    )
    for image in images:
        write_image(tmp_path / "images" / image.file_name, PIXELS)
    write_coco(tmp_path / "train.json", LabelledSet(("CTC", "WBC", "debris"), images))
    return tmp_path


def run(convert, folder, *more):
    return convert(
        [str(folder / "train.json"), "--images", str(folder / "images"), "--out", str(folder / "out"), *more]
    )


def test_boxes_become_cells(convert, boxes, capsys):
    report = run(convert, boxes, "--size", "9")
    assert report.cells == {"CTC": 2, "WBC": 2, "debris": 0}
    assert (report.images, report.images_without_cells) == (3, 1)
    assert report.skipped == {"ignore region": ["a/f0.png: 40, 40, 52, 50"]}
    assert "images kept: 3 (without cells: 1)\ncells kept: 4 (CTC 2, WBC 2, debris 0)" in capsys.readouterr().out
    rows = read_cells_csv(boxes / "out")
    assert [(row.cell_id, row.label, row.group, row.channel, row.um_per_px) for row in rows] == [
        ("a/f0/0000", "CTC", "P1", "bf", 0.5),
        ("a/f0/0001", "WBC", "P1", "bf", 0.5),
        ("a/f0/0002", "WBC", "P1", "bf", 0.5),
        ("a/f1/0000", "CTC", "P2", "brightfield", 0.5),
    ]
    assert rows[2].box_xyxy == (60, 40, 70.5, 49.25)
    assert [row.extra["border"] for row in rows] == ["false", "true", "false", "false"]
    # The middle of the first box is the corner of pixel 25, 17: the crop holds that pixel in its middle.
    crop = read_cell_image(boxes / "out" / rows[0].path)
    assert crop.dtype == np.uint16
    x0, y0 = int(rows[0].extra["crop_x0"]), int(rows[0].extra["crop_y0"])
    assert abs(x0 + 4.5 - 25) <= 0.5
    assert abs(y0 + 4.5 - 17) <= 0.5
    assert np.array_equal(crop, PIXELS[y0 : y0 + 9, x0 : x0 + 9])


@pytest.mark.parametrize(
    ("more", "sides"),
    [
        (["--size-um", "6"], [12, 12, 12, 12]),
        (["--margin", "0"], [14, 8, 10, 14]),
        (["--margin", "0.25"], [21, 12, 16, 21]),
        ([], [17, 10, 13, 17]),
    ],
)
def test_sizes(convert, boxes, more, sides):
    run(convert, boxes, *more)
    rows = read_cells_csv(boxes / "out")
    assert [read_cell_image(boxes / "out" / row.path).shape for row in rows] == [(side, side) for side in sides]
    assert [int(row.extra["crop_px"]) for row in rows] == sides


def test_an_even_crop_of_an_even_box_is_the_box_itself(convert, boxes):
    run(convert, boxes, "--margin", "0")
    row = read_cells_csv(boxes / "out")[1]
    assert np.array_equal(read_cell_image(boxes / "out" / row.path), PIXELS[:8, :8])


def test_cells_at_the_edge_are_padded_or_left_out(convert, boxes):
    report = run(convert, boxes, "--size", "12")
    assert report.notes["cell whose crop leaves the image (its edge is repeated)"] == ["a/f0/0001"]
    row = read_cells_csv(boxes / "out")[1]
    assert row.extra["padded_px"] == "4"
    crop = read_cell_image(boxes / "out" / row.path)
    assert np.array_equal(crop[2:, 2:], PIXELS[:10, :10])
    assert (crop[0] == crop[2]).all()
    report = run(convert, boxes, "--size", "12", "--edge", "skip", "--overwrite")
    assert report.skipped["cell whose crop leaves the image"] == ["a/f0/0001 (WBC)"]
    assert report.cells == {"CTC": 2, "WBC": 1, "debris": 0}


def test_cells_larger_than_their_crop_are_noted(convert, boxes):
    assert run(convert, boxes, "--size", "9").notes["cell larger than its crop"] == [
        "a/f0/0000",
        "a/f0/0002",
        "a/f1/0000",
    ]


def test_normalised_crops_keep_their_depth(convert, boxes):
    run(convert, boxes, "--size", "15", "--normalize", "--split", "train")
    row = read_cells_csv(boxes / "out")[0]
    assert row.path.startswith("train/CTC/")
    crop = read_cell_image(boxes / "out" / row.path)
    assert crop.dtype == np.uint16
    assert abs(float(np.median(crop[[0, -1]])) - 32768) < 6000


def test_what_does_not_fit_is_refused(convert, boxes, capsys):
    write_image(boxes / "images/a/f1.png", PIXELS[:50])
    (boxes / "images/a/f0.png").unlink()
    arguments = [str(boxes / "train.json"), "--images", str(boxes / "images"), "--out", str(boxes / "out")]
    assert run_cli(convert, arguments) == 1
    error = capsys.readouterr().err
    assert "2 problems" in error
    assert "80 x 60 px" in error
    assert not (boxes / "out").exists()


def test_a_set_without_cells_or_scale_is_an_error(convert, boxes, capsys):
    content = json.loads((boxes / "train.json").read_text())
    for image in content["images"]:
        del image["um_per_px"]
    (boxes / "train.json").write_text(json.dumps(content))
    arguments = [str(boxes / "train.json"), "--images", str(boxes / "images"), "--out", str(boxes / "out")]
    assert run_cli(convert, [*arguments, "--size-um", "6"]) == 1
    assert "--um-per-px" in capsys.readouterr().err
    assert convert([*arguments, "--size-um", "6", "--um-per-px", "0.5"]).kept == 4
    content["annotations"] = []
    (boxes / "train.json").write_text(json.dumps(content))
    assert run_cli(convert, [*arguments[:-1], str(boxes / "none")]) == 1
    assert "no cell in 3 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [["--size", "0"], ["--margin", "-1"], ["--size", "5", "--size-um", "5"], ["--edge", "x"]]
)
def test_bad_usage_ends_with_2(convert, more):
    with pytest.raises(SystemExit) as stop:
        convert(["f.json", "--images", "i", "--out", "o", *more])
    assert stop.value.code == 2


def test_real_blood_cells_become_single_cells(repo, convert, monkeypatch, shared_data, tmp_path):
    monkeypatch.syspath_prepend(str(repo / "data_converters"))
    import voc_to_coco

    bccd = shared_data / "bccd"
    split = tmp_path / "some.txt"
    split.write_text("".join((bccd / "ImageSets/Main/test.txt").read_text().splitlines(keepends=True)[:6]))
    command = [str(bccd / "Annotations"), "--images", str(bccd / "JPEGImages"), "--out", str(tmp_path / "b.json")]
    boxes = voc_to_coco.main([*command, "--split", str(split)])
    report = convert(
        [
            str(tmp_path / "b.json"),
            "--images",
            str(bccd / "JPEGImages"),
            "--out",
            str(tmp_path / "out"),
            "--size",
            "100",
        ]
    )
    assert report.cells == boxes.cells
    rows = read_cells_csv(tmp_path / "out")
    assert {read_cell_image(tmp_path / "out" / row.path).shape for row in rows} == {(100, 100, 3)}
