"""From bright-field folders to cells: classes by stain, shifts, the operator's choice, files to correct."""

import csv
import json

import brightfield_lab
import numpy as np
import pytest
from brightfield_lab import SHIFTS_YX, class_at, make_lab

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.formats.coco import read_coco
from ctc_mm.imaging.io import read_image, write_image, write_ome_tiff


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    return root, make_lab(root)


@pytest.fixture
def convert(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "data_converters"))
    import brightfield_to_cells

    return brightfield_to_cells.main


@pytest.fixture
def labelme_to_coco(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "data_converters"))
    import labelme_to_coco

    return labelme_to_coco.main


def arguments(root, out, *more):
    return [str(root / "bf"), "--um-per-px", "0.6", "--out", str(out), *more]


def stains(root):
    return ["--labels", f"CTC={root / 'red'},WBC={root / 'green'}"]


def test_cells_get_the_class_that_is_stained(convert, lab, tmp_path, capsys):
    root, fields = lab
    report = convert(arguments(root, tmp_path / "out", *stains(root), "--group-pattern", "(P[0-9]+)_"))
    rows = read_cells_csv(tmp_path / "out")
    assert len(rows) >= 16
    truth = [class_at(fields[row.source.removesuffix("_BF.png")], row) for row in rows]
    assert [row.label for row in rows] == [name or "unlabelled" for name in truth]
    assert {row.group for row in rows} == {"P0"}
    assert {row.um_per_px for row in rows} == {0.6}
    assert {row.channel for row in rows} == {"brightfield"}
    assert report.images == 3
    assert report.images_without_cells == 1
    assert report.classes == ("CTC", "WBC")
    assert report.cells == {name: sum(row.label == name and row.keep for row in rows) for name in ("CTC", "WBC")}
    assert "images kept: 3 (without cells: 1)" in capsys.readouterr().out


def test_shifts_are_measured_and_recorded(convert, lab, tmp_path):
    root, _ = lab
    convert(arguments(root, tmp_path / "out", *stains(root)))
    fields = json.loads((tmp_path / "out/fields.json").read_text())["fields"]
    assert sorted(fields) == ["P0_f0_BF.png", "P0_f1_BF.png", "P1_f2_BF.png"]
    for name in ("P0_f0_BF.png", "P0_f1_BF.png"):
        for marker, folder in (("CTC", "red"), ("WBC", "green")):
            record = fields[name]["markers"][marker]
            assert (record["shift_y_px"], record["shift_x_px"]) == pytest.approx(SHIFTS_YX[folder], abs=1)
            assert record["response"] > 7
            assert record["threshold"] > 6 * record["noise"] * 0.99
        assert fields[name]["levels"]["white"] > 0


def test_crops_are_where_the_table_says(convert, lab, tmp_path):
    root, _ = lab
    convert(arguments(root, tmp_path / "raw", "--raw-crops", "--size-um", "15"))
    rows = read_cells_csv(tmp_path / "raw")
    for row in rows:
        image = read_image(root / "bf" / row.source)
        crop = read_cell_image(tmp_path / "raw" / row.path)
        assert crop.shape == (25, 25)
        x0, y0 = int(row.extra["crop_x0"]), int(row.extra["crop_y0"])
        if 0 <= x0 <= image.shape[1] - 25 and 0 <= y0 <= image.shape[0] - 25:
            assert np.array_equal(crop, image[y0 : y0 + 25, x0 : x0 + 25])
        assert abs(x0 + 12 - float(row.extra["centroid_x"])) <= 0.51
    convert(arguments(root, tmp_path / "even"))
    crops = [read_cell_image(tmp_path / "even" / row.path) for row in read_cells_csv(tmp_path / "even")]
    assert {crop.shape for crop in crops} == {(30, 30)}
    assert all(abs(float(np.median(crop[[0, -1]])) - 128) < 12 for crop in crops)


def test_without_stains_cells_are_unlabelled_and_a_detector_learns_cells(convert, lab, tmp_path):
    root, _ = lab
    report = convert(arguments(root, tmp_path / "out"))
    rows = read_cells_csv(tmp_path / "out")
    assert {row.label for row in rows} == {"unlabelled"}
    labelled = read_coco(tmp_path / "out/cells.json")
    assert labelled.classes == ("cell",)
    assert len(labelled.images) == 3
    assert report.kept == sum(row.keep for row in rows)
    assert report.ignore_regions == sum(not row.keep for row in rows)


def test_labelme_files_lead_back_to_the_same_boxes(convert, labelme_to_coco, lab, tmp_path):
    root, _ = lab
    convert(arguments(root, tmp_path / "out", *stains(root)))
    labelme_to_coco([str(tmp_path / "out/labelme"), "--images", str(root / "bf"), "--out", str(tmp_path / "back.json")])
    first, second = read_coco(tmp_path / "out/cells.json"), read_coco(tmp_path / "back.json")
    assert first.classes == second.classes
    for one, other in zip(first.images, second.images, strict=True):
        assert (one.file_name, one.size_wh, one.group, one.um_per_px) == (
            other.file_name,
            other.size_wh,
            other.group,
            other.um_per_px,
        )
        kept = [[cell for cell in image.cells if not cell.is_ignore] for image in (one, other)]
        assert [(cell.box_xyxy, cell.label, cell.polygons_xy) for cell in kept[0]] == [
            (cell.box_xyxy, cell.label, cell.polygons_xy) for cell in kept[1]
        ]
        ignored = [{cell.box_xyxy for cell in image.cells if cell.is_ignore} for image in (one, other)]
        assert ignored[0] == ignored[1]


def edit_keep(path, decide):
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    for line in table:
        line["keep"] = decide(line)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return table


def test_the_operators_choice_is_honoured(convert, lab, tmp_path):
    root, _ = lab
    convert(arguments(root, tmp_path / "out"))
    table = tmp_path / "choice.csv"
    table.write_bytes((tmp_path / "out/cells.csv").read_bytes())
    wanted = {
        line["cell_id"]: line["keep"]
        for line in edit_keep(table, lambda line: "false" if line["keep"] == "true" else "true")
    }
    report = convert(arguments(root, tmp_path / "chosen", "--keep-table", str(table)))
    rows = read_cells_csv(tmp_path / "chosen")
    assert {row.cell_id: str(row.keep).lower() for row in rows} == wanted
    assert report.kept == sum(row.keep for row in rows)
    # The reasons stay beside the choice.
    flagged = [row for row in rows if row.extra.get("reasons")]
    assert all(row.keep for row in flagged)


def test_a_table_of_another_segmentation_is_refused(convert, lab, tmp_path, capsys):
    root, _ = lab
    table = tmp_path / "choice.csv"
    table.write_text("cell_id,keep,x0,y0,x1,y1\nP0_f0_BF/0001,no,0,0,9,9\n")
    assert run_cli(convert, arguments(root, tmp_path / "out", "--keep-table", str(table))) == 1
    assert "another segmentation" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    table.write_text("cell_id,keep\nP0_f0_BF/0001,no\nP9/0001,yes\n")
    report = convert(arguments(root, tmp_path / "out", "--keep-table", str(table)))
    assert report.notes["cell of the keep table that was not found"] == ["P9/0001"]
    assert not next(row for row in read_cells_csv(tmp_path / "out") if row.cell_id == "P0_f0_BF/0001").keep
    table.write_text("cell_id,keep\nP0_f0_BF/0001,maybe\n")
    assert run_cli(convert, arguments(root, tmp_path / "no", "--keep-table", str(table))) == 1
    assert "choice.csv, line 2: `keep` must be true or false. Received: 'maybe'" in capsys.readouterr().err


def test_cells_stained_twice_are_kept_back_unlabelled(convert, lab, tmp_path):
    root, _ = lab
    report = convert(arguments(root, tmp_path / "out", "--labels", f"CTC={root / 'red'},WBC={root / 'red'}"))
    rows = read_cells_csv(tmp_path / "out")
    twice = [row for row in rows if "several_markers" in row.extra.get("reasons", "")]
    assert len(twice) >= 5
    assert {(row.label, row.keep) for row in twice} == {("unlabelled", False)}
    assert report.kept == 0
    assert len(report.notes["cell stained by several markers (unlabelled, keep is false)"]) == len(twice)
    assert len(report.notes["cell stained by no marker (unlabelled)"]) == len(rows) - len(twice)


def test_one_folder_stains_the_ctcs_and_the_others_are_wbc(convert, lab, tmp_path):
    root, fields = lab
    convert(arguments(root, tmp_path / "out", "--labels", str(root / "red")))
    rows = read_cells_csv(tmp_path / "out")
    truth = [class_at(fields[row.source.removesuffix("_BF.png")], row) for row in rows]
    assert [row.label for row in rows] == [name or "WBC" for name in truth]
    convert(arguments(root, tmp_path / "named", "--labels", str(root / "red"), "--negative", "other"))
    assert {row.label for row in read_cells_csv(tmp_path / "named")} == {"CTC", "other"}


def test_implausible_shifts_leave_cells_unlabelled(convert, lab, tmp_path):
    root, fields = lab
    for name, field in fields.items():
        image = brightfield_lab.fluorescence(field, 0, (0, 60))
        write_image(tmp_path / f"far/{name}_red.tif", image)
    report = convert(arguments(root, tmp_path / "out", "--labels", str(tmp_path / "far"), "--max-shift", "20"))
    places = [place for remark, found in report.notes.items() if "implausibly" in remark for place in found]
    assert [place.split(" (")[0] for place in places] == ["P0_f0_BF.png", "P0_f1_BF.png"]
    assert {row.label for row in read_cells_csv(tmp_path / "out")} == {"unlabelled"}
    known = convert(arguments(root, tmp_path / "known", "--labels", str(tmp_path / "far"), "--shift", "60", "0"))
    assert known.cells["CTC"] >= 2


def test_images_of_another_size_are_an_error_naming_both(convert, lab, tmp_path, capsys):
    root, fields = lab
    for name in fields:
        write_image(tmp_path / f"red/{name}.tif", np.zeros((30, 40), np.uint16))
    assert run_cli(convert, arguments(root, tmp_path / "out", "--labels", str(tmp_path / "red"))) == 1
    error = capsys.readouterr().err
    assert "P0_f0.tif: 40 x 30 px" in error
    assert "P0_f0_BF.png has 360 x 320 px" in error
    assert not (tmp_path / "out").exists()


def test_missing_and_surplus_marker_images_are_counted(convert, lab, tmp_path):
    root, fields = lab
    names = list(fields)
    write_image(tmp_path / f"red/{names[0]}.tif", read_image(root / f"red/{names[0]}_red.tif"))
    write_image(tmp_path / "red/stranger.tif", np.zeros((5, 5), np.uint8))
    report = convert(arguments(root, tmp_path / "out", "--labels", str(tmp_path / "red")))
    assert len(report.notes["field without marker image (its cells stay unlabelled)"]) == 2
    assert report.skipped_counts == {"marker image of no field": 1}
    labels = {row.source: row.label for row in read_cells_csv(tmp_path / "out")}
    assert labels[f"{names[1]}_BF.png"] == "unlabelled"
    write_image(tmp_path / f"red/{names[0]}_dapi.tif", np.zeros((5, 5), np.uint8))
    assert run_cli(convert, arguments(root, tmp_path / "o2", "--labels", str(tmp_path / "red"))) == 1


def test_the_same_input_gives_the_same_bytes_and_corrections_are_not_lost(convert, lab, tmp_path, capsys):
    root, _ = lab
    for out in ("a", "b", "a"):
        convert(arguments(root, tmp_path / out, *stains(root)))
    first, second = (
        {path.relative_to(tmp_path / out): path for path in (tmp_path / out).rglob("*") if path.is_file()}
        for out in "ab"
    )
    assert sorted(first) == sorted(second)
    assert all(first[name].read_bytes() == second[name].read_bytes() for name in first)
    corrected = tmp_path / "a/labelme/P0_f0_BF.json"
    content = json.loads(corrected.read_text())
    del content["shapes"][0]
    corrected.write_text(json.dumps(content))
    assert run_cli(convert, arguments(root, tmp_path / "a", *stains(root))) == 1
    assert "corrected by hand" in capsys.readouterr().err
    assert json.loads(corrected.read_text()) == content
    convert(arguments(root, tmp_path / "a", *stains(root), "--overwrite"))
    assert corrected.read_bytes() == second[corrected.relative_to(tmp_path / "a")].read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size", "0"], "at least 1 px"),
        (["--diameter-um", "9", "3"], "largest larger"),
        (["--threshold", "5"], "need --labels"),
        (["--labels", "CTC=a,CTC=b"], "twice"),
        (["--labels", "CTC=a,b"], "CTC=DIR"),
        (["--labels", "a", "--max-shift", "-1"], "most_shift_px"),
        (["--um-per-px", "0"], "above 0"),
    ],
)
def test_bad_usage_ends_with_2_and_a_reason(convert, more, message, capsys):
    with pytest.raises(SystemExit) as stop:
        convert(["in", "--out", "out", *more])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_folders_that_cannot_be_are_refused(convert, lab, tmp_path, capsys):
    root, _ = lab
    assert run_cli(convert, arguments(root, root / "bf/out")) == 1
    assert "a second run would read it" in capsys.readouterr().err
    (tmp_path / "bf").mkdir()
    assert run_cli(convert, arguments(tmp_path, tmp_path / "out")) == 1
    assert "no image in this folder" in capsys.readouterr().err
    write_image(tmp_path / "bf/nan.tif", np.full((40, 40), np.nan, np.float32))
    (tmp_path / "bf/cut.png").write_bytes((root / "bf/P0_f0_BF.png").read_bytes()[:2000])
    assert run_cli(convert, arguments(tmp_path, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "2 problems" in error
    assert "nan.tif" in error
    assert "cut.png" in error
    assert not (tmp_path / "out").exists()


def test_scale_and_channel_come_from_the_file(convert, lab, tmp_path, capsys):
    root, _ = lab
    image = read_image(root / "bf/P0_f0_BF.png")
    folder = tmp_path / "ome"
    write_ome_tiff(folder / "f.ome.tif", np.stack([255 - image, image]), ("DAPI", "BF"), 0.6)
    assert run_cli(convert, [str(folder), "--out", str(tmp_path / "none")]) == 1
    assert "f.ome.tif: none of its channels (DAPI, BF) is named brightfield" in capsys.readouterr().err
    convert([str(folder), "--out", str(tmp_path / "out"), "--channel", "BF", "--size-um", "18"])
    (tmp_path / "bf").mkdir()
    write_image(tmp_path / "bf/f.png", image)
    convert(arguments(tmp_path, tmp_path / "plain"))
    found, plain = read_cells_csv(tmp_path / "out"), read_cells_csv(tmp_path / "plain")
    assert [row.box_xyxy for row in found] == [row.box_xyxy for row in plain] != []
    assert {(row.um_per_px, row.extra["crop_px"]) for row in found} == {(0.6, "30")}
    assert read_coco(tmp_path / "out/cells.json").images[0].um_per_px == 0.6


def test_crops_in_um_need_a_scale(convert, lab, tmp_path, capsys):
    root, _ = lab
    assert run_cli(convert, [str(root / "bf"), "--out", str(tmp_path / "out"), "--size-um", "18"]) == 1
    error = capsys.readouterr().err
    assert "P0_f0_BF.png" in error
    assert "size of a pixel" in error
    assert not (tmp_path / "out").exists()


def test_a_missing_scale_is_told(convert, lab, tmp_path):
    root, _ = lab
    report = convert([str(root / "bf"), "--out", str(tmp_path / "out")])
    assert len(report.notes["image without scale, taken as of 0.6 um per pixel (give --um-per-px)"]) == 3
