"""The imFISH converter as a user calls it, on the phantom's slides: labels against the truth, and every bad input."""

import csv
import importlib.util
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.formats.coco import read_coco
from ctc_mm.formats.imfish_tables import NO_SCALE, ONE_KIND
from ctc_mm.imaging.io import open_field, write_image, write_ome_tiff
from ctc_mm.imfish import FieldResult, classify_field
from ctc_mm.phantoms import IMFISH_CHANNELS, ImFISHPhantomConfig, write_imfish_fields

CHANNELS = "dapi=0,cep8=1,cd45=2"
PATTERN = "(P[0-9]+)_"
CONFIG = ImFISHPhantomConfig(image_wh=(640, 640), ctc_count=(3, 6), wbc_count=(12, 16), other_count=(1, 3))


@pytest.fixture(scope="module")
def main(repo):
    path = repo / "data_converters/imfish_to_cells.py"
    spec = importlib.util.spec_from_file_location("imfish_to_cells", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return folder, write_imfish_fields(folder, {"P1": 2, "P2": 1, "P3": 1}, CONFIG, seed=7)


@pytest.fixture(scope="module")
def converted(main, slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "cells"
    arguments = [str(slides[0]), "--out", str(out), "--channels", CHANNELS, "--group-pattern", PATTERN]
    return out, main([*arguments, "--coco", str(out.parent / "boxes.json")])


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path):
    """Three files of a field, one a channel, and a way to spoil one."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in IMFISH_CHANNELS:
        tifffile.imwrite(tmp_path / f"in/A_{name}.tif", rng.integers(90, 110, (300, 260)).astype(np.uint16))
    return tmp_path / "in"


PATTERNS = ",".join(f"{name}=*_{name}.tif" for name in IMFISH_CHANNELS)


def failure(main, capsys, arguments):
    """The one line of error that a run ends with."""
    assert run_cli(main, [str(one) for one in arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    return error[-1] if len(error) == 1 else "\n".join(line for line in error if "━" not in line)


def test_labels_agree_with_the_phantom_s_truth(slides, converted):
    hits = {(is_ctc, said): 0 for is_ctc in (True, False) for said in (True, False)}
    unlabelled = missed = 0
    rows = read_cells_csv(converted[0])
    for source, truth in slides[1].items():
        mine = [row for row in rows if row.source == source]
        middles = np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (row.box_xyxy for row in mine)])
        for index in np.flatnonzero(truth.is_interpretable):
            distance = np.hypot(*(middles - truth.centroids_yx[index, ::-1]).T)
            row = mine[int(np.argmin(distance))]
            if distance.min() > 5:
                missed += 1
            elif row.keep:
                hits[(bool(truth.is_ctc[index]), row.label == "CTC")] += 1
            else:
                unlabelled += 1
    ctcs, others = hits[(True, True)] + hits[(True, False)], hits[(False, True)] + hits[(False, False)]
    assert ctcs >= 12
    assert others >= 40
    assert hits[(True, True)] / ctcs >= 0.9
    assert hits[(False, False)] / others >= 0.95
    assert missed + unlabelled <= 0.15 * (ctcs + others)


def test_every_nucleus_is_written_with_its_numbers(slides, converted):
    out, report = converted
    rows = read_cells_csv(out)
    index = 0
    for source in sorted(slides[1]):
        with open_field(slides[0] / source, CHANNELS) as field:
            result = classify_field(field)
            cep8 = field.read(["cep8"])[0]
        name = source.removesuffix(".ome.tif")
        for number, record in enumerate(result.records, start=1):
            row, index = rows[index], index + 1
            assert (row.cell_id, row.channel, row.source) == (f"{name}/{number:05d}", "cep8", source)
            assert row.box_xyxy == record.box_xyxy
            assert row.label == ("unlabelled" if record.is_rejected else "CTC" if record.is_ctc else "non-CTC")
            assert row.keep != record.is_rejected
            assert (row.group, row.um_per_px, row.split) == (source[:2], 0.25, "all")
            assert row.extra["reason"] == record.reason
            assert int(row.extra["cep8_count"]) == record.cep8_count
            assert int(row.extra["area_px"]) == record.area_px
            assert float(row.extra["cd45"]) == record.cd45
            x0, y0, x1, y1 = map(int, record.box_xyxy)
            np.testing.assert_array_equal(read_cell_image(out / row.path), cep8[y0:y1, x0:x1])
        found = json.loads((out / "fields" / f"{name}.json").read_text())
        assert (found.pop("source"), found.pop("group"), found.pop("crop_channels")) == (source, source[:2], ["cep8"])
        found["name"] = result.name
        assert FieldResult.from_dict(found) == result
    assert index == len(rows) == report.images
    assert {path.as_posix() for path in files_of(out)} == {
        "cells.csv", "patients.csv", *(row.path for row in rows),
        *(f"fields/{source.removesuffix('.ome.tif')}.json" for source in slides[1]),
    }  # fmt: skip


def test_what_the_counts_rest_on_is_remarked(main, slides, tmp_path, capsys):
    source = sorted(slides[1])[0]
    (tmp_path / "in").mkdir()
    with open_field(slides[0] / source, CHANNELS) as field:
        dapi, cep8, cd45 = field.read()
    # Without pixel size, and the second field without white blood cells: CD45 is the slide's level alone.
    write_ome_tiff(tmp_path / "in/two_kinds.tif", np.stack([dapi, cep8, cd45]), IMFISH_CHANNELS)
    write_ome_tiff(tmp_path / "in/one_kind.tif", np.stack([dapi, cep8, np.full_like(cd45, 150)]), IMFISH_CHANNELS)
    arguments = [str(tmp_path / "in"), "--channels", CHANNELS, "--out"]
    report = main([*arguments, str(tmp_path / "bare")])
    assert (report.notes[NO_SCALE], report.notes[ONE_KIND]) == (["one_kind", "two_kinds"], ["one_kind"])
    assert f"  {NO_SCALE}: 2 (one_kind; two_kinds)" in capsys.readouterr().out
    report = main([*arguments, str(tmp_path / "given"), "--um-per-px", "0.25", "--cd45-threshold", "200"])
    assert not {NO_SCALE, ONE_KIND} & set(report.notes)


def test_counts_by_reason_and_patient(slides, converted):
    out, report = converted
    rows = read_cells_csv(out)
    reasons = {row.extra["reason"] for row in rows}
    assert report.reasons == {name: sum(row.extra["reason"] == name for row in rows) for name in reasons}
    assert next(iter(report.reasons)) == "ctc"
    assert report.cells == {name: sum(row.label == name for row in rows) for name in ("CTC", "non-CTC", "unlabelled")}
    assert sum(len(places) for places in report.notes.values()) == report.cells["unlabelled"]
    counts = {patient: sum(r.label == "CTC" and r.group == patient for r in rows) for patient in ("P1", "P2", "P3")}
    table = list(csv.DictReader((out / "patients.csv").open()))
    assert {row["patient"]: int(row["ctcs"]) for row in table} == counts
    assert [(row["blood_ml"], row["fields"]) for row in table] == [("4", "2"), ("4", "1"), ("4", "1")]
    assert sum(int(row["nuclei"]) for row in table) == len(rows)
    low, high = min(counts.values()), max(counts.values())
    text = str(report)
    assert f"mean (range): {sum(counts.values()) / 3:.1f} ({low}-{high}) in 4 mL of blood, 3 patients" in text
    assert "fields: 4\n" in text
    assert f"nuclei: {len(rows)} (ctc {report.reasons['ctc']}, " in text


def test_coco_holds_the_same_boxes(slides, converted):
    labelled = read_coco(converted[0].parent / "boxes.json")
    assert labelled.classes == ("CTC", "non-CTC")
    rows = read_cells_csv(converted[0])
    for image in labelled.images:
        assert (image.group, image.um_per_px) == (image.file_name[:2], 0.25)
        mine = [row for row in rows if row.source == image.file_name]
        cells = {(cell.box_xyxy, cell.label) for cell in image.cells if not cell.is_ignore}
        assert cells == {(row.box_xyxy, row.label) for row in mine if row.keep}
        ignored = [(cell.box_xyxy, cell.label) for cell in image.cells if cell.is_ignore]
        assert set(ignored) == {(row.box_xyxy, name) for row in mine if not row.keep for name in labelled.classes}


def test_same_bytes_again_by_the_cache_too(main, slides, converted, tmp_path):
    arguments = [str(slides[0]), "--channels", CHANNELS, "--group-pattern", PATTERN, "--cache", str(tmp_path / "cache")]
    wanted = files_of(converted[0])
    for out in ("a", "a", "b"):
        main([*arguments, "--out", str(tmp_path / out)])
        assert files_of(tmp_path / out) == wanted
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_all_channels_in_one_image(main, slides, tmp_path):
    main([str(slides[0] / "P2"), "--out", str(tmp_path / "a"), "--channels", CHANNELS, "--crop", "all"])
    rows = read_cells_csv(tmp_path / "a")
    with open_field(slides[0] / "P2/P2_f01.ome.tif") as field:
        pixels = np.moveaxis(field.read(IMFISH_CHANNELS), 0, -1)
    assert {row.channel for row in rows} == {"dapi+cep8+cd45"}
    for row in rows:
        x0, y0, x1, y1 = map(int, row.box_xyxy)
        np.testing.assert_array_equal(read_cell_image(tmp_path / "a" / row.path), pixels[y0:y1, x0:x1])
    # No patient is known: no table of patients, and each field is a group.
    assert not (tmp_path / "a/patients.csv").exists()
    assert {row.group for row in rows} == {"P2_f01"}
    two = [str(slides[0] / "P2"), "--out", str(tmp_path / "b"), "--channels", "dapi=0,cep8=1", "--crop", "all"]
    main([*two, "--mode", "paper"])
    rows = read_cells_csv(tmp_path / "b")
    assert {row.channel for row in rows} == {"dapi+cep8"}
    assert all(row.keep and "cd45" not in row.extra for row in rows)
    x0, y0, x1, y1 = map(int, rows[0].box_xyxy)
    np.testing.assert_array_equal(read_cell_image(tmp_path / "b" / rows[0].path), pixels[y0:y1, x0:x1, :2])


def test_a_file_a_channel_gives_the_same_cells(main, slides, tmp_path):
    (tmp_path / "in").mkdir()
    with open_field(slides[0] / "P2/P2_f01.ome.tif") as field:
        for name in IMFISH_CHANNELS:
            write_image(tmp_path / f"in/P2_f01_{name}.tif", field.read([name])[0])
    write_image(tmp_path / "in/P9_f01_dapi.tif", np.zeros((9, 9), np.uint16))
    one = main([str(slides[0] / "P2"), "--out", str(tmp_path / "a"), "--channels", CHANNELS])
    split = main([str(tmp_path / "in"), "--out", str(tmp_path / "b"), "--channels", PATTERNS, "--um-per-px", "0.25"])
    assert split.reasons == one.reasons
    images = [
        {key: value for key, value in files_of(tmp_path / out).items() if key.suffix == ".png"} for out in ("a", "b")
    ]
    assert images[0] == images[1]
    assert split.skipped_counts == {"field that lacks a channel's file": 1}


def test_colour_files_for_a_channel_are_told_of(main, small, tmp_path):
    write_image(small / "A_cd45.tif", np.zeros((300, 260, 3), np.uint16))
    report = main([str(small), "--out", str(tmp_path / "a"), "--channels", PATTERNS])
    (remark,) = report.notes["remark on how a field is read"]
    assert re.search("A_cd45.tif: .*brightest colour", remark)


def test_thresholds_given_are_used_and_recorded(main, slides, tmp_path):
    arguments = [str(slides[0] / "P2"), "--out", str(tmp_path / "a"), "--channels", CHANNELS]
    main(
        [*arguments, "--cd45-threshold", "321.5", "--cep8-threshold", "77", "--settings", "min_signals=4,max_edge_um=2"]
    )
    thresholds = json.loads((tmp_path / "a/fields/P2_f01.json").read_text())["thresholds"]
    assert (thresholds["cd45_threshold"], thresholds["cep8_threshold"]) == (321.5, 77)
    assert (thresholds["settings"]["min_signals"], thresholds["settings"]["max_edge_um"]) == (4, 2)
    assert all(int(r.extra["cep8_count"]) >= 4 for r in read_cells_csv(tmp_path / "a") if r.label == "CTC")


def test_fields_without_a_nucleus_are_counted(main, small, tmp_path):
    report = main([str(small), "--out", str(tmp_path / "a"), "--channels", PATTERNS, "--group-pattern", "(A)"])
    assert read_cells_csv(tmp_path / "a") == []
    assert (report.fields, report.images, report.notes) == (1, 0, {"field without a nucleus": ["A"]})
    assert (tmp_path / "a/patients.csv").read_text().splitlines()[1] == "A,0,4,1,0,0"
    assert "1 patients, 1 of them without a CTC" in str(report)


def test_other_set_in_the_folder_is_replaced_only_when_asked(main, slides, tmp_path, capsys):
    folder, out = slides[0], tmp_path / "a"
    main([str(folder / "P2"), "--out", str(out), "--channels", CHANNELS])
    before = files_of(out)
    other = [folder / "P3", "--out", out, "--channels", CHANNELS]
    assert "P2_f01.json: result of a field that is not in this set" in failure(main, capsys, other)
    assert "another set" in failure(
        main, capsys, [folder / "P2", "--out", out, "--channels", CHANNELS, "--mode", "paper"]
    )
    assert files_of(out) == before
    main([str(one) for one in (*other, "--overwrite")])
    assert {row.source for row in read_cells_csv(out)} == {"P3_f01.ome.tif"}
    assert [path.name for path in (out / "fields").iterdir()] == ["P3_f01.json"]


def spoil_size(folder):
    tifffile.imwrite(folder / "A_cep8.tif", np.zeros((300, 250), np.uint16))


def spoil_nan(folder):
    image = np.ones((300, 260), np.float32)
    image[7, 7] = np.nan
    tifffile.imwrite(folder / "A_cd45.tif", image)


def spoil_end(folder):
    data = (folder / "A_dapi.tif").read_bytes()
    (folder / "A_dapi.tif").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_size,
            r"channels of different size: dapi \(300, 260\) in .*A_dapi.tif, cep8 \(300, 250\) in .*A_cep8.tif",
        ),
        (spoil_nan, r"A_cd45.tif: channel 'cd45' holds pixels that are not finite: 1 NaN .* of shape \("),
        (spoil_end, r"A_dapi.tif: .*truncated"),
    ],
)
def test_spoilt_file_is_named_or_counted(main, small, tmp_path, capsys, spoil, message):
    spoil(small)
    for name in IMFISH_CHANNELS:
        tifffile.imwrite(small / f"B_{name}.tif", np.zeros((64, 64), np.uint16))
    arguments = [small, "--out", tmp_path / "a", "--channels", PATTERNS]
    assert re.search(message, failure(main, capsys, arguments))
    assert not (tmp_path / "a").exists()
    report = main([str(one) for one in (*arguments, "--skip-damaged")])
    assert report.fields == 1
    ((reason, (place,)),) = report.skipped.items()
    assert reason.startswith("field that cannot be read")
    assert re.search(f"^A: .*{message}", place)


def test_all_problems_are_told_at_once(main, small, tmp_path, capsys):
    spoil_size(small)
    write_ome_tiff(small / "whole.ome.tif", np.zeros((2, 9, 9), np.uint8), ("D", "S"))
    for name in ("dapi", "cep8", "cd45"):
        (small / f"B_{name}.tif").write_bytes(b"II*\0")
    error = failure(main, capsys, [small, "--out", tmp_path / "a", "--channels", PATTERNS])
    assert "2 problems" in error
    assert "A_cep8.tif" in error
    assert "B_dapi.tif" in error
    (tmp_path / "two").mkdir()
    (small / "whole.ome.tif").rename(tmp_path / "two/whole.ome.tif")
    error = failure(main, capsys, [tmp_path / "two", "--out", tmp_path / "a", "--channels", CHANNELS])
    assert "whole.ome.tif: has no channel 2; its channels are 0 (D), 1 (S)" in error
    assert "no field could be read" in failure(
        main, capsys, [tmp_path / "two", "--out", tmp_path / "a", "--channels", CHANNELS, "--skip-damaged"]
    )


def test_fields_of_one_name_and_a_folder_in_itself_are_refused(main, small, tmp_path, capsys):
    for suffix in ("tif", "png"):
        write_image(small / f"A_dapi.{suffix}", np.zeros((9, 9, 3), np.uint8))
    error = failure(main, capsys, [small, "--out", tmp_path / "a", "--channels", CHANNELS])
    assert "A_dapi.png and A_dapi.tif are two fields of one name" in error
    assert "choose another folder" in failure(main, capsys, [small, "--out", small / "x", "--channels", PATTERNS])
    assert "absent is not a folder" in failure(
        main, capsys, [tmp_path / "absent", "--out", "x", "--channels", CHANNELS]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "dapi=0,cep8=1"], "only mode 'paper'"),
        (["--channels", "dapi=0,cep8=1,cd45=2,gfp=3"], "must name dapi, cep8 and cd45"),
        (["--channels", "dapi"], "pairs like dapi=0"),
        (["--channels", CHANNELS, "--settings", "signals=3"], "settings are pairs of"),
        (["--channels", CHANNELS, "--settings", "min_solidity=2"], "`min_solidity` must be from 0 to 1"),
        (["--channels", CHANNELS, "--volume-ml", "0"], "above 0"),
        (["--channels", CHANNELS, "--group-pattern", "P1"], "pair of brackets"),
        (["--channels", CHANNELS, "--crop", "rgb"], "invalid choice"),
        ([], "required: --channels"),
    ],
)
def test_bad_usage_ends_with_2(main, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--out", str(tmp_path / "a"), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_depth_of_the_file_changes_no_cell(main, tmp_path):
    config = replace(CONFIG, bit_depth=8, image_wh=(400, 400))
    write_imfish_fields(tmp_path / "8", {"P1": 1}, config, seed=1)
    (tmp_path / "16").mkdir()
    with open_field(tmp_path / "8/P1/P1_f01.ome.tif") as field:
        image = field.read().astype(np.uint16) * 257
    write_ome_tiff(tmp_path / "16/P1_f01.ome.tif", image, IMFISH_CHANNELS, 0.25)
    for depth in ("8/P1", "16"):
        main([str(tmp_path / depth), "--out", str(tmp_path / f"cells{depth[0]}"), "--channels", CHANNELS])
    low, high = (
        [(row.label, row.box_xyxy, row.extra["reason"]) for row in read_cells_csv(tmp_path / f"cells{depth}")]
        for depth in ("8", "1")
    )
    assert low == high
    assert len(low) > 5
