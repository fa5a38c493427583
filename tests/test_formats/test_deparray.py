"""What a pattern makes of paths, and which row belongs to which cell."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.errors import AnnotationError
from ctc_mm.formats import deparray
from ctc_mm.formats.deparray import (
    DEFAULT_PATTERN,
    compile_pattern,
    default_channels,
    find_cells,
    match_entries,
    parse_channels,
    same_cell,
    same_name,
)
from ctc_mm.formats.deparray_table import CellEntries, CellEntry
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.io import write_image


def groups(path):
    match = compile_pattern(DEFAULT_PATTERN).fullmatch(path)
    return match and tuple(match[name] for name in ("patient", "sample", "cell", "channel"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("S1/12_BF.png", (None, "S1", "12", "BF")),
        ("P01/S1/12_DAPI.TIF", ("P01", "S1", "12", "DAPI")),
        ("12_BF.jpeg", (None, None, "12", "BF")),
        ("S 1/Cell 0012 - CD45.tiff", (None, "S 1", "Cell 0012", "CD45")),
        ("S1/a_b_12-bf.bmp", (None, "S1", "a_b_12", "bf")),
        ("S1/12_bright_field.png", (None, "S1", "12", "bright_field")),
        ("S1/12_BF.ome.tif", (None, "S1", "12", "BF")),
        ("a/P01/S1/12_BF.png", None),
        ("S1/12.png", None),
        ("S1/_BF.png", None),
        ("S1/12_.png", None),
        ("S1/12_BF.txt", None),
    ],
)
def test_the_default_pattern(path, expected):
    assert groups(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(?P<cell>a", "no regular expression"),
        (".*", "must have the named groups"),
        ("(?P<cell>a)", "must have the named groups"),
        ("(?P<cell>a)(?P<channel>b)(?P<slide>c)", "must have the named groups"),
    ],
)
def test_patterns_that_cannot_be_used(text, message):
    with pytest.raises(ValueError, match=message):
        compile_pattern(text)


def test_channels_on_the_command_line():
    assert parse_channels("brightfield=BF, dapi=Hoechst 33342,brightfield=TL") == {
        "bf": "brightfield", "hoechst 33342": "dapi", "tl": "brightfield",
    }  # fmt: skip
    for text in ("BF", "=BF", "brightfield="):
        with pytest.raises(ValueError, match="takes OURS=THEIRS"):
            parse_channels(text)
    with pytest.raises(ValueError, match="takes 'bf' for both 'brightfield' and 'dapi'"):
        parse_channels("brightfield=BF,dapi=bf")


def test_names_of_channels_mean_one_channel_each():
    names = [name for names in deparray.CHANNEL_NAMES.values() for name in names]
    assert len(names) == len(set(names))
    assert default_channels()["bright field"] == "brightfield"


@pytest.fixture
def export(tmp_path):
    def make(*names, pattern=DEFAULT_PATTERN, channels=None):
        for name in names:
            write_image(tmp_path / name, np.zeros((2, 2), np.uint8))
        report = ConversionReport()
        cells = find_cells(tmp_path, compile_pattern(pattern), channels or default_channels(), report)
        return {cell.cell_id: cell.images for cell in cells}, report.skipped

    return make


def test_nothing_to_find(tmp_path, export):
    with pytest.raises(AnnotationError, match="none of 0 images.*'sample/12_BF.png'"):
        export()
    with pytest.raises(AnnotationError, match=r"none of 1 images.*--pattern for names like 'x.png'(.|\n)*x.png"):
        export("x.png")
    with pytest.raises(AnnotationError, match="not a folder"):
        find_cells(tmp_path / "gone", compile_pattern(DEFAULT_PATTERN), default_channels(), ConversionReport())


def test_twins_become_one_cell_and_the_rest_is_counted(export):
    cells, skipped = export("S1/1_BF.png", "S1/1_DAPI.tif", "S1/2_bf.png", "S2/1_BF.png", "S2/1_merge.png", "x/y.png")
    assert cells == {
        "S1/1": {"brightfield": "S1/1_BF.png", "dapi": "S1/1_DAPI.tif"},
        "S1/2": {"brightfield": "S1/2_bf.png"},
        "S2/1": {"brightfield": "S2/1_BF.png"},
    }
    assert skipped == {deparray.OTHER_CHANNEL: ["S2/1_merge.png (merge)"], deparray.NO_MATCH: ["x/y.png"]}


def test_the_second_image_of_a_cell_and_channel_is_counted(export):
    cells, skipped = export("S1/0012_BF.png", "S1/12_BF.png", "S1/Cell 12_brightfield.tif", "S1/012_DAPI.png")
    assert cells == {"S1/0012": {"brightfield": "S1/0012_BF.png", "dapi": "S1/012_DAPI.png"}}
    assert skipped == {
        deparray.SAME_IMAGE: [
            "S1/12_BF.png (taken: S1/0012_BF.png)",
            "S1/Cell 12_brightfield.tif (taken: S1/0012_BF.png)",
        ]
    }


def test_images_without_folder_are_one_sample(tmp_path, export):
    assert export("3_BF.png")[0] == {f"{tmp_path.name}/3": {"brightfield": "3_BF.png"}}


def test_a_pattern_of_ones_own_with_classes_as_folders(export):
    pattern = r"(?P<label>CTC|WBC)/(?P<patient>P\d+)_(?P<cell>\d+)/(?P<channel>\w+)\.png"
    cells, skipped = export("CTC/P1_1/BF.png", "WBC/P1_2/BF.png", "WBC/P2_2/BF.png", "CTC/P3_1/BF.png",
                            "WBC/P3_1/DAPI.png", pattern=pattern)  # fmt: skip
    assert [name.split("/", 1)[0] + "/" + name.rsplit("/", 1)[1] for name in cells] == ["P1/1", "P1/2", "P2/2"]
    assert skipped == {deparray.TWO_LABELS: ["CTC/P3_1/BF.png; WBC/P3_1/DAPI.png"]}


def test_told_channels_are_the_only_ones(export):
    cells, skipped = export("S1/1_CH0.png", "S1/1_BF.png", channels=parse_channels("brightfield=CH0"))
    assert cells == {"S1/1": {"brightfield": "S1/1_CH0.png"}}
    assert skipped == {deparray.OTHER_CHANNEL: ["S1/1_BF.png (BF)"]}


@pytest.mark.parametrize(
    "text", ["12", "0012", "12.0", " 12 ", "Cell 12", "cell_0012", "ID12", "Cell ID 12", "cell #12"]
)
def test_numbers_of_cells_are_numbers(text):
    assert same_cell(text) == "12"


def test_names_that_stay_what_they_are():
    assert [same_cell(text) for text in ("A12", "12b", "1.5", "cell", "cellar 3", "12.01")] == [
        "a12", "12b", "1.5", "cell", "cellar 3", "12.01",
    ]  # fmt: skip
    assert same_name("Cell 12") != same_name("12")
    assert same_cell("0" + "9" * 5000) == "9" * 5000  # more digits than Python turns into a number


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**18), st.integers(0, 6))
def test_leading_zeros_do_not_matter_and_digits_do(number, zeros):
    assert same_cell("0" * zeros + str(number)) == same_cell(f"{number}.0") == str(number)


def entry(cell, line=2, **changes):
    return CellEntry(f"t.csv, line {line}", cell, **changes)


def cell(sample, name, patient=""):
    return deparray.ExportCell(patient, sample, name, "", {"brightfield": f"{sample}/{name}_BF.png"})


def match(cells, *entries):
    report = ConversionReport()
    rows = match_entries(cells, CellEntries(entries), report)
    return {key: row and row.label for key, row in rows.items()}, report.skipped


def test_rows_find_their_cells():
    cells = [cell("S1", "0012"), cell("S1", "13"), cell("s2", "12")]
    rows, skipped = match(
        cells, entry("12", sample="s1", label="CTC"), entry("12.0", sample="S2", label="WBC"), entry("9", sample="S1")
    )
    assert rows == {("", "s1", "12"): "CTC", ("", "s2", "12"): "WBC"}
    assert skipped == {deparray.NO_IMAGE: ["t.csv, line 2: S1/9"]}


def test_samples_of_one_name_are_told_apart_by_the_patient():
    cells = [cell("S1", "1", "P1"), cell("S1", "1", "P2")]
    rows, skipped = match(cells, entry("1", sample="S1", patient="p2", label="CTC"))
    assert (rows, skipped) == ({("p2", "s1", "1"): "CTC"}, {})


def test_a_row_that_fits_several_cells_is_an_error():
    with pytest.raises(AnnotationError, match=r"t.csv, line 2: cell '1' fits 2 cells \(S1/1, S2/1\).*sample=NAME"):
        match([cell("S1", "1"), cell("S2", "1")], entry("1"))


def test_doubled_rows_count_once_and_contradictions_not_at_all():
    cells = [cell("S1", "1"), cell("S1", "2")]
    rows, skipped = match(
        cells,
        entry("1", 2, label="CTC"), entry("01", 3, label="ctc"),
        entry("2", 4, label="CTC"), entry("2", 5, label="WBC"), entry("2", 6),
    )  # fmt: skip
    assert rows == {("", "s1", "1"): "CTC", ("", "s1", "2"): None}
    assert skipped == {
        deparray.SAME_ROW: ["t.csv, line 3"],
        deparray.CONTRADICTION: ["t.csv, line 4 (CTC); t.csv, line 5 (WBC); t.csv, line 6 (no label)"],
    }


def test_the_patterns_of_the_guide_fit_the_files_beside_them(repo):
    guide = (repo / "docs/guides/deparray.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+\.\w{3})`.*\| `(\(\?P.+)` \|$", guide, re.MULTILINE)
    assert len(lines) == 4
    for path, pattern in lines:
        match = compile_pattern(pattern.replace("\\|", "|")).fullmatch(path)
        assert (int(match["cell"]), match["channel"]) == (12, "BF"), path
        assert match.groupdict().get("sample", "S1") == "S1"
        assert match.groupdict().get("patient", "P07") == "P07"
