"""The DEPArray converter as a user calls it, on the phantom's export."""

import csv
import importlib.util
import json
import re

import numpy as np
import openpyxl
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.imaging.io import read_image
from ctc_mm.phantoms import DEPArrayPhantomConfig, write_deparray_export

CONFIG = DEPArrayPhantomConfig(patients=3, ctc_count=(3, 5), wbc_count=(4, 6), rejected_fraction=0.2)


@pytest.fixture(scope="module")
def main(repo):
    path = repo / "data_converters/deparray_to_cells.py"
    spec = importlib.util.spec_from_file_location("deparray_to_cells", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    return folder, write_deparray_export(folder, CONFIG, seed=3)


def truth_of(folder):
    return {
        f"{cell['sample']}/{cell['number']:04d}": (cell["class"], patient["patient"], cell["keep"])
        for patient in json.loads((folder / "truth.json").read_text())
        for cell in patient["cells"]
    }


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_phantom_comes_back_as_it_was_drawn(main, lab, tmp_path, capsys):
    folder, summary = lab
    command = [str(summary.export_dir), "--table", str(summary.table), "--um-per-px", "0.4", "--strict", "--out"]
    report = main([*command, str(tmp_path / "a")])
    rows = read_cells_csv(tmp_path / "a")
    truth = truth_of(folder)
    assert {row.cell_id: (row.label, row.group, row.keep) for row in rows} == truth
    assert sorted((row.cell_id, row.channel) for row in rows) == sorted(
        (cell, channel) for cell in truth for channel in ("brightfield", "dapi")
    )
    for row in rows:
        original = read_image(summary.export_dir / row.source)
        np.testing.assert_array_equal(read_cell_image(tmp_path / "a" / row.path), original)
        assert row.path.startswith(f"all/{row.label}/")
        assert (row.um_per_px, row.box_xyxy) == (0.4, (0, 0, 80, 80))
    assert report.cells == summary.cells
    assert report.images == 2 * sum(summary.cells.values())
    assert summary.rejected == sum(not keep for _, _, keep in truth.values()) > 0
    printed = capsys.readouterr().out
    assert f"cells kept: {len(truth)} (CTC {summary.cells['CTC']}, WBC {summary.cells['WBC']})" in printed
    assert f"written: {tmp_path / 'a' / 'cells.csv'}" in printed

    for out in ("a", "b"):  # once more into the same folder, and into another
        main([*command, str(tmp_path / out)])
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_the_same_cells_from_a_workbook_with_names_of_its_own(main, lab, tmp_path):
    folder, summary = lab
    book = openpyxl.Workbook()
    book.active.append(["Export of the lab"])
    with summary.table.open() as file:
        lines = list(csv.reader(file))
    book.active.append(["Donor ID", "Cartridge", "Cage", "Verdict", "Chosen"])
    for patient, sample, number, name, keep in lines[1:]:
        book.active.append([patient, sample, float(number), {"CTC": "T", "Leukocyte": "L"}[name], keep == "yes"])
    book.save(tmp_path / "t.xlsx")
    main([
        str(summary.export_dir), "--out", str(tmp_path / "out"), "--table", str(tmp_path / "t.xlsx"), "--strict",
        "--columns", "cell=Cage,sample=Cartridge,patient=donor id,label=verdict", "--keep", "chosen",
        "--labels", "T=CTC,L=WBC", "--channels", "brightfield=BF,dapi=DAPI",
        "--pattern", r"(?P<sample>\w+)/(?P<cell>\d+)_(?P<channel>\w+)\.png",
    ])  # fmt: skip
    rows = read_cells_csv(tmp_path / "out")
    assert {row.cell_id: (row.label, row.group, row.keep) for row in rows} == truth_of(folder)


def test_a_failure_ends_with_1_and_writes_nothing(main, lab, tmp_path, capsys):
    _, summary = lab
    table = tmp_path / "t.csv"
    table.write_text(summary.table.read_text().replace("Leukocyte", "blast", 1))
    out = tmp_path / "out"
    assert run_cli(main, [str(summary.export_dir), "--out", str(out), "--table", str(table)]) == 1
    error = capsys.readouterr().err
    assert re.search(r"error: .*t.csv, line \d+: unknown label 'blast'; map it with --labels 'blast=CTC'", error)
    assert not out.exists()
    assert run_cli(main, [str(tmp_path / "gone"), "--out", str(out)]) == 1
    assert "gone is not a folder" in capsys.readouterr().err


def test_another_set_needs_overwrite(main, lab, tmp_path, capsys):
    _, summary = lab
    command = [str(summary.export_dir), "--out", str(tmp_path)]
    main(command)
    assert run_cli(main, [*command, "--um-per-px", "0.4"]) == 1
    assert "holds another set of cells" in capsys.readouterr().err
    main([*command, "--table", str(summary.table), "--overwrite"])
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"CTC", "WBC"}  # no unlabelled left from before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["e"], "--out"),
        (["e", "--out", "o", "--pattern", "x("], "no regular expression"),
        (["e", "--out", "o", "--pattern", "x"], "named groups"),
        (["e", "--out", "o", "--channels", "BF"], "takes OURS=THEIRS"),
        (["e", "--out", "o", "--columns", "colour=red"], "takes FIELD=COLUMN"),
        (["e", "--out", "o", "--um-per-px", "-1"], "above 0"),
        (["e", "--out", "o", "--keep", "Good"], "--keep needs --table"),
        (["e", "--out", "o", "--sheet", "S"], "--sheet needs --table"),
        (["e", "--out", "o", "--table", "t", "--keep", "a", "--columns", "keep=b"], "name the same column"),
        (["e", "--out", "o", "--table", "t", "--extra", "group"], "a column of cells.csv itself"),
    ],
)
def test_bad_usage_ends_with_2_and_a_reason(main, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
