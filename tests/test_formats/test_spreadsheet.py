"""Tables of any usual kind: the same cells come out of all of them."""

import datetime
import random
import re
import zipfile

import openpyxl
import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.spreadsheet import read_table

ROWS = [["Cell", "Class", "Area"], ["12", "CTC", "80.5"], ["0013", "Größe", "7"]]


def read(path, sheet=None):
    return read_table(path, lambda values: "Cell" in values, "a column Cell", sheet)


def save_book(path, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def text(delimiter=",", end="\n"):
    return end.join(delimiter.join(row) for row in ROWS) + end


@pytest.mark.parametrize(
    ("name", "data", "lines"),
    [
        ("plain.csv", text().encode(), [2, 3]),
        ("bom.csv", b"\xef\xbb\xbf" + text().encode(), [2, 3]),
        ("european.csv", text(";", "\r\n").encode(), [2, 3]),
        ("tabs.tsv", text("\t").encode(), [2, 3]),
        ("tabs.txt", text("\t").encode("utf-16"), [2, 3]),
        ("pipes.txt", text("|").encode(), [2, 3]),
        ("old_mac.csv", text(",", "\r").encode(), [2, 3]),
        ("told.csv", f"sep=;\n{text(';')}".encode(), [3, 4]),
        ("title.csv", f"Export of 3 May, all cells\n\n\n{text(';')}".encode(), [5, 6]),
        ("blank_lines.csv", text().replace("\n", "\n\n,,\n").encode(), [4, 7]),
        ("no_last_end.csv", text().strip().encode(), [2, 3]),
        ("spaces.csv", text(" , ").encode(), [2, 3]),
        ("zeros.csv", text().replace("0013", '="0013"').encode(), [2, 3]),
        ("quoted_zeros.csv", text().replace("0013", '"=""0013"""').encode(), [2, 3]),
        ("quotes.csv", "\n".join('"' + '","'.join(row) + '"' for row in ROWS).encode(), [2, 3]),
        ("trailing.csv", text().replace("\n", ",,\n").encode(), [2, 3]),
        ("latin.csv", text().encode("cp1252"), [2, 3]),
    ],
)
def test_text_of_any_kind(tmp_path, name, data, lines):
    (tmp_path / name).write_bytes(data)
    table = read(tmp_path / name)
    assert [table.header, *(values for _, values in table.lines)] == ROWS
    assert [number for number, _ in table.lines] == lines
    others_part = ("european.csv", "told.csv", "title.csv", "tabs.tsv", "tabs.txt", "pipes.txt")
    assert table.has_decimal_commas == (name in others_part)
    assert [remark[:42] for remark in table.remarks] == (
        ["table is not UTF-8, read as Windows-1252; "] if name == "latin.csv" else []
    )


def test_a_header_alone(tmp_path):
    (tmp_path / "a.csv").write_text("Cell\n")
    assert read(tmp_path / "a.csv").lines == []


def test_short_lines_are_filled_and_long_ones_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('Cell,Class\n1\n2,"two\nlines"\n3,x\n')
    assert read(path).lines == [(2, ["1", ""]), (3, ["2", "two lines"]), (5, ["3", "x"])]
    path.write_text("Cell,Class\n1,a\n2,b,c\n")
    with pytest.raises(AnnotationError, match=r"a.csv, line 3: has 3 values where the header has 2 columns"):
        read(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "the table is empty"),
        ("a.csv", b"\n \n", "the table is empty"),
        ("a.csv", b"Id;Class\n1;CTC\n", "no line names a column Cell; line 1 holds: Id, Class"),
        ("a.csv", b'Cell,Class\n1,"CTC\n', "line 2: no table .*mend the quotes"),
        ("a.csv", b"\xff\xfeC\x00e", "damaged UTF-16"),
        ("a.csv", text().encode("utf-16-le"), "is no text, or UTF-16 without a byte order mark; save .* as CSV UTF-8"),
        ("a.csv", b"PK\3\4\0\0", "is no text"),
        ("a.xlsx", b"Cell,Class\n", "no workbook that can be read"),
        ("a.xlsx", b"", "no workbook that can be read"),
        ("a.xls", b"", "save it as .csv"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_missing_table(tmp_path):
    with pytest.raises(AnnotationError, match="no such table"):
        read(tmp_path / "a.csv")


def test_a_workbook_gives_what_excel_shows(tmp_path):
    rows = [
        ["All cells of May"],
        [],
        ["Cell", "Class", "Area", "Keep", "Day", None],
        [12.0, " CTC ", 80.5, True, datetime.datetime(2025, 5, 3), None],
        [None] * 6,
        ["0013", None, 7, False, "x", None],
    ]
    table = read(save_book(tmp_path / "a.xlsx", {"Cells": rows}))
    assert table.header == ["Cell", "Class", "Area", "Keep", "Day"]
    assert table.lines == [
        (4, ["12", "CTC", "80.5", "true", "2025-05-03"]),
        (6, ["0013", "", "7", "false", "x"]),
    ]
    assert table.file == f"{tmp_path / 'a.xlsx'} [Cells]"


def test_the_first_sheet_with_a_header_or_the_one_named(tmp_path):
    path = save_book(tmp_path / "a.xlsx", {"About": [["Export"]], "S1": [["Cell"], [1]], "S2": [["Cell"], [2]]})
    table = read(path)
    assert table.lines == [(2, ["1"])]
    assert table.remarks == ("sheet 'S1' read, other sheets left: About, S2",)
    assert read(path, "S2").lines == [(2, ["2"])]
    with pytest.raises(AnnotationError, match="has no sheet 'S3'; it has About, S1, S2"):
        read(path, "S3")
    with pytest.raises(AnnotationError, match="no line names a column Cell; line 1 holds: Export"):
        read(path, "About")
    (tmp_path / "a.csv").write_text("Cell\n")
    with pytest.raises(AnnotationError, match="has no sheets"):
        read(tmp_path / "a.csv", "S1")


def calculated(path, values):
    """Put values beside formulas, as a spreadsheet program does on saving: cell -> value."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    for cell, value in values.items():
        pattern = rf'<c r="{cell}"[^>]*>(<f>.*?</f>)<v\s*/>|<c r="{cell}"[^>]*>(<f>.*?</f>)<v></v>'
        sheet = members["xl/worksheets/sheet1.xml"]
        found = re.search(pattern, sheet)
        formula = found.group(1) or found.group(2)
        members["xl/worksheets/sheet1.xml"] = sheet.replace(
            found.group(), f'<c r="{cell}" t="str">{formula}<v>{value}</v>'
        )
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)


def test_formulas_give_their_values_and_none_that_was_never_calculated(tmp_path):
    rows = [["Cell", "Class"], [1, '=IF(1,"CTC","WBC")'], [2, '=IF(1,"","WBC")']]
    path = save_book(tmp_path / "a.xlsx", {"S": rows})
    with pytest.raises(
        AnnotationError, match=r"a\.xlsx \[S\]: cell B2 holds the formula =IF.* without its value; open"
    ):
        read(path)
    calculated(path, {"B2": "CTC", "B3": ""})
    assert read(path).lines == [(2, ["1", "CTC"]), (3, ["2", ""])]


def test_a_merged_value_stands_in_each_of_its_rows(tmp_path):
    path = tmp_path / "a.xlsx"
    rows = [["Cells of May", None], ["Patient", "Cell"], ["P1", 1], [None, 2], [None, 3], ["P2", 4]]
    book = openpyxl.load_workbook(save_book(path, {"S": rows}))
    for merged in ("A1:B1", "A3:A5"):
        book["S"].merge_cells(merged)
    book.save(path)
    table = read(path)
    assert table.header == ["Patient", "Cell"]
    assert table.lines == [(3, ["P1", "1"]), (4, ["P1", "2"]), (5, ["P1", "3"]), (6, ["P2", "4"])]


def error_of(path):
    try:
        read(path)
    except AnnotationError as error:
        return str(error)
    return ""


def test_damaged_workbooks_end_in_an_error_that_names_the_file(tmp_path):
    path = save_book(tmp_path / "a.xlsx", {"S": [["Cell", "Class"], *([number, "CTC"] for number in range(9))]})
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        message = error_of(path)
        assert message == "" or str(path) in message
        refused += bool(message)
    assert refused > 40
