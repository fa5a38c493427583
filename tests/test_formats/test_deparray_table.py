"""Rows of cells: columns by name or told, and every wrong value named with file, line, column and cure."""

import openpyxl
import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.deparray_table import CellEntry, parse_columns, read_cell_entries


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "t.csv"
        path.write_text(text)
        return read_cell_entries(path, **options)

    return read


def test_no_rows(read):
    assert read("Cell,Class\n").entries == ()


def test_usual_names_are_found(read, tmp_path):
    table = read("Patient ID,sample_name,Cell-ID,Cell Type,KEEP,xmin,ymin,xmax,ymax,Date of birth\n"
                 "P1,S1,12,CTC,x,1,2,31.5,42,1950-01-01\nP2,,0013,,,,,,,\n")  # fmt: skip
    place = f"{tmp_path / 't.csv'}, line"
    assert table.entries == (
        CellEntry(f"{place} 2", "12", "S1", "P1", "CTC", True, (1, 2, 31.5, 42)),
        CellEntry(f"{place} 3", "0013", "", "P2", "", False, None),
    )
    assert table.unused_columns == ("Date of birth",)


def test_columns_can_be_told(read):
    columns = {"cell": "cage no", "label": "verdict", "keep": "chosen"}
    table = read("Cage_No;Verdict;Chosen;Area;Empty;\n7;tumour;ja;3,5;;\n".replace("ja", "yes"), columns=columns,
                 extra=("area", "empty"))  # fmt: skip
    (entry,) = table.entries
    assert (entry.cell, entry.label, entry.keep, dict(entry.extra)) == ("7", "tumour", True, {"area": "3,5"})
    assert table.unused_columns == ()


def test_no_keep_column_keeps_all_and_a_blank_is_not_chosen(read):
    assert [entry.keep for entry in read("Cell\n1\n").entries] == [True]
    words = ["TRUE", "1", "Yes", "x", "good", "FALSE", "0", "No", "bad", '""']
    table = read("Cell,Keep\n" + "".join(f"{i},{word}\n" for i, word in enumerate(words)))
    assert [entry.keep for entry in table.entries] == [True] * 5 + [False] * 5


def test_numbers_of_a_european_table(read):
    (entry,) = read("Cell;x0;y0;x1;y1\n1;0,5;1;2,25;3\n").entries
    assert entry.box_xyxy == (0.5, 1, 2.25, 3)


def test_excel_numbers(tmp_path):
    book = openpyxl.Workbook()
    for row in (["Cell", "Sample", "Keep"], [12.0, 1.0, True], ["0013", "S2", None]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    entries = read_cell_entries(tmp_path / "t.xlsx").entries
    assert [(entry.cell, entry.sample, entry.keep) for entry in entries] == [("12", "1", True), ("0013", "S2", False)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "Name,Class\n1,CTC\n",
            {},
            "no line names a column of cells .*--columns cell=NAME; line 1 holds: Name, C",
        ),
        ("Name\n1\n", {"columns": {"cell": "No"}}, r"no line names the column of cells \('No'\)"),
        ("Cell,ID\n1,2\n", {}, "the columns 'Cell', 'ID' all may be the cell; name one with --columns cell=NAME"),
        ("Cell,Class,Type\n1,a,b\n", {}, "the columns 'Class', 'Type' all may be the label"),
        ("Cell\n1\n", {"columns": {"label": "Verdict"}}, "has no column 'Verdict' for the label; it has Cell"),
        ("Cell\n1\n", {"extra": ("Area",)}, "has the further column 'Area' not; it has Cell"),
        ("Cell,A,a\n1,2,3\n", {"extra": ("a",)}, "has the further column 'a' twice"),
        ("Cell,Class\n1,CTC\n,WBC\n", {}, "line 3: column 'Cell' is empty"),
        ("Cell,Keep\n1,perhaps\n", {}, "line 2: column 'Keep' must be one of true.*Received: 'perhaps'"),
        ("Cell,x0\n1,2\n", {}, "has the coordinates x0 alone; name all of x0, y0, x1, y1"),
        ("Cell,x0,y0,x1,y1\n1,0,0,5,\n", {}, r"line 2: column 'y1' must be a number \(px\). Received: ''"),
        ("Cell,Left,Top,Right,Bottom\n1,0,0,5,a\n", {}, "line 2: column 'Bottom' must be a number"),
        ('Cell,x0,y0,x1,y1\n1,"0,5",0,5,5\n', {}, "column 'x0' must be a number .*Received: '0,5'"),
        ("Cell,x0,y0,x1,y1\n1,5,0,5,5\n", {}, "line 2: the box needs finite x0 < x1"),
        ("Cell,x0,y0,x1,y1\n1,0,0,inf,5\n", {}, "line 2: the box needs finite"),
        ("Cell,x0,y0,x1,y1\n1,0,0,nan,5\n", {}, "line 2: the box needs finite"),
    ],
)
def test_errors_name_the_place_and_the_cure(read, tmp_path, text, options, message):
    with pytest.raises(AnnotationError, match=message) as error:
        read(text, **options)
    assert str(tmp_path / "t.csv") in str(error.value)


def test_columns_on_the_command_line():
    assert parse_columns("cell=Cell #, label=My Class") == {"cell": "Cell #", "label": "My Class"}
    for text, message in (
        ("cell", "takes FIELD=COLUMN"),
        ("colour=red", "with the fields cell, sample"),
        ("cell=", "takes FIELD=COLUMN"),
        ("cell=a,cell=b", "'cell' twice"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_columns(text)
