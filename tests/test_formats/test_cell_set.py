"""cells.csv and its images: what is written comes back, whole or not at all, and nothing is mixed in."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.cell_set import COLUMNS, CellRow, CellSetWriter, count_cells, read_cell_image, read_cells_csv
from ctc_mm.formats.cell_table import format_cells_csv
from ctc_mm.imaging.io import read_image, write_image

HEADER = "path,label,cell_id,channel,group,source,x0,y0,x1,y1,um_per_px,split,fold,keep"


def row(cell_id="c1", channel="dapi", **changes):
    fields = {"group": "P1", "source": "a.tif", "box_xyxy": (0, 0, 4, 5), **changes}
    return CellRow(cell_id=cell_id, channel=channel, **fields)


def grey(value=7, dtype=np.uint8):
    return np.full((5, 4), value, dtype)


def write(out, *pairs, **options):
    with CellSetWriter(out, **options) as writer:
        for one, image in pairs:
            writer.add(one, image)
    return writer


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_set_is_a_header(tmp_path):
    write(tmp_path / "out")
    assert (tmp_path / "out/cells.csv").read_bytes() == f"{HEADER}\n".encode()
    assert read_cells_csv(tmp_path / "out") == []
    assert ",".join(COLUMNS) == HEADER


def test_one_row_in_full(tmp_path):
    full = row(
        label="CTC", box_xyxy=(1.5, 2, 10.25, 1 / 3 + 2), um_per_px=0.325, split="train", fold=2, keep=False,
        extra={"area_um2": 81.5, "aggregate": True, "note": "a, b", "spots": np.int64(3)},
    )  # fmt: skip
    write(tmp_path, (full, grey()))
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert lines == [
        f"{HEADER},aggregate,area_um2,note,spots",
        'train/CTC/c1__dapi.png,CTC,c1,dapi,P1,a.tif,1.5,2,10.25,2.3333333,0.325,train,2,false,true,81.5,"a, b",3',
    ]
    (back,) = read_cells_csv(tmp_path)
    text = {"area_um2": "81.5", "aggregate": "true", "note": "a, b", "spots": "3"}
    assert back == replace(full, path="train/CTC/c1__dapi.png", extra=text, box_xyxy=back.box_xyxy)
    np.testing.assert_array_equal(np.float32(back.box_xyxy), np.float32(full.box_xyxy))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4, 5])
def test_every_kind_of_image_comes_back(tmp_path, dtype, channels):
    shape = (6, 7) if channels == 0 else (6, 7, channels)
    image = np.random.default_rng(0).uniform(0, 250, shape).astype(dtype)
    (written,) = write(tmp_path, (row(channel="dapi+cep8"), image)).rows
    back = read_cell_image(tmp_path / written.path)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image[..., 0] if channels == 1 else image)
    is_png = dtype != np.float32 and channels in (0, 1, 3)
    assert written.path == f"all/unlabelled/c1__dapi+cep8.{'png' if is_png else 'tif'}"


@pytest.mark.parametrize("channels", [0, 2, 3])
def test_a_truncated_image_is_an_error(tmp_path, channels):
    shape = (6, 7, channels) if channels else (6, 7)
    (written,) = write(tmp_path, (row(), np.ones(shape, np.float32))).rows
    path = tmp_path / written.path
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ImageReadError, match=r"c1__dapi.tif: .*truncated"):
        read_cell_image(path)
    path.unlink()
    with pytest.raises(ImageReadError, match=r"c1__dapi.tif"):
        read_cell_image(path)


def test_a_one_pixel_image(tmp_path):
    write(tmp_path, (row(), np.array([[65535]], np.uint16)))
    assert read_image(tmp_path / "all/unlabelled/c1__dapi.png").tolist() == [[65535]]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 4), np.uint8), r"c1.*dapi.*a.tif.*shape \(0, 4\)"),
        (np.zeros((4, 4, 0), np.uint8), r"shape \(4, 4, 0\)"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4), np.int32), "Received: int32"),
        (np.zeros((4, 4), np.float64), "Received: float64"),
        (np.zeros((4, 4), bool), "Received: bool"),
        (np.array([[np.nan]], np.float32), "NaN"),
    ],
)
def test_images_that_cannot_be_written(tmp_path, image, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "out", (row(), image))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"cell_id": ""}, "`cell_id` must be text"),
        ({"cell_id": " a"}, "`cell_id` must be text"),
        ({"channel": "a\nb"}, "`channel` must be text"),
        ({"group": ""}, "`group` must be text"),
        ({"source": ""}, "`source` must be text"),
        ({"label": "../x"}, "`label` becomes a folder"),
        ({"label": ".."}, "`label` becomes a folder"),
        ({"label": "a/b"}, "`label` becomes a folder"),
        ({"label": "a\\b"}, "`label` becomes a folder"),
        ({"label": "NUL"}, "`label` becomes a folder"),
        ({"label": "x" * 101}, "`label` becomes a folder"),
        ({"split": "C:"}, "`split` becomes a folder"),
        ({"box_xyxy": (0, 0, 0, 4)}, "`box_xyxy` must have a positive area"),
        ({"box_xyxy": (0, 0, float("nan"), 4)}, "`box_xyxy` must be four finite"),
        ({"box_xyxy": (0, 0, 4)}, "`box_xyxy` must be four finite"),
        ({"um_per_px": 0}, "`um_per_px` must be a positive"),
        ({"fold": -1}, "`fold` must be a whole"),
        ({"fold": 1.5}, "`fold` must be a whole"),
        ({"extra": {"keep": 1}}, "other than the fixed columns"),
        ({"extra": {"area": float("inf")}}, "finite numbers"),
    ],
)
def test_rows_that_cannot_be(change, error):
    with pytest.raises(ValueError, match=error):
        row(**{"cell_id": "c1", **change})


def test_rows_of_wrong_types():
    with pytest.raises(TypeError, match="`keep` must be True or False"):
        row(keep="no")
    with pytest.raises(TypeError, match="`extra` takes text and numbers"):
        row(extra={"a": [1]})


def test_names_become_portable_and_stay_apart(tmp_path):
    ids = ["a/b", "a_b", "A_b", "../a", ".hidden", "x" * 400, "x" * 401, "é", "ü", "con"]
    rows = write(tmp_path, *[(row(one, source=str(i)), grey(i)) for i, one in enumerate(ids)]).rows
    assert len({one.path.casefold() for one in rows}) == len(ids)
    assert all(one.path.isascii() and len(one.path) < 200 for one in rows)
    assert rows[0].path == "all/unlabelled/a_b__dapi.png"
    assert rows[4].path == "all/unlabelled/hidden__dapi.png"
    assert [read_image(tmp_path / one.path)[0, 0] for one in rows] == list(range(len(ids)))
    assert len(contents(tmp_path)) == len(ids) + 1


def test_long_names_are_cut_and_stay_apart(tmp_path):
    writer = write(tmp_path, *((row("c" * 300 + end), grey()) for end in "ab"))
    names = [Path(one.path).stem for one in writer.rows]
    assert [len(name) for name in names] == [150, 150]
    assert names[0][:137] == names[1][:137] == "c" * 137
    assert names[0] != names[1]


def test_cell_and_channel_do_not_run_into_each_other(tmp_path):
    one, other = write(tmp_path, (row("a__b", "c"), grey(1)), (row("a", "b__c"), grey(2))).rows
    assert one.path != other.path
    assert [read_image(tmp_path / r.path)[0, 0] for r in (one, other)] == [1, 2]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (row(source="b.tif"), "'c1' has channel 'dapi' twice .from a.tif and b.tif"),
        (row(channel="bf", label="CTC"), "label 'unlabelled' in channel 'dapi' and 'CTC' in channel 'bf'"),
        (row(channel="bf", group="P2"), "group 'P1' in channel 'dapi' and 'P2'"),
        (row(channel="bf", split="test"), "split 'all'"),
        (row(channel="bf", fold=1), "fold None"),
        (row("c2", label="Unlabelled"), "one folder on Windows and macOS"),
        (row("c2", split="ALL"), "one folder on Windows and macOS"),
    ],
)
def test_rows_that_do_not_go_together(tmp_path, second, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "out", (row(), grey()), (second, grey()))
    assert not (tmp_path / "out").exists()


def test_keep_may_differ_between_channels(tmp_path):
    write(tmp_path, (row(), grey()), (row(channel="bf", keep=False), grey()))
    assert [one.keep for one in read_cells_csv(tmp_path)] == [False, True]


def test_add_needs_a_with_block(tmp_path):
    with pytest.raises(RuntimeError, match="needs `with"):
        CellSetWriter(tmp_path).add(row(), grey())


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "out", (row(), grey()))
    assert (tmp_path / "out").read_text() == "mine"


def test_the_table_does_not_depend_on_the_order(tmp_path):
    pairs = [(row(f"c{i}", channel), grey(i)) for i in range(3) for channel in ("bf", "dapi")]
    write(tmp_path / "a", *pairs)
    write(tmp_path / "b", *pairs[::-1])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [(one.cell_id, one.channel) for one in read_cells_csv(tmp_path / "a")] == [
        (f"c{i}", channel) for i in range(3) for channel in ("bf", "dapi")
    ]


def test_the_same_set_again_gives_the_same_folder(tmp_path):
    pairs = [(row("c1"), grey(1)), (row("c2"), grey(2, np.float32)), (row("c3"), np.ones((3, 3, 2), np.uint16))]
    write(tmp_path, *pairs)
    before = contents(tmp_path)
    write(tmp_path, *pairs)
    assert contents(tmp_path) == before
    assert len(before) == 4


def test_another_set_is_refused_and_left_alone(tmp_path):
    write(tmp_path, (row("old", label="CTC"), grey()))
    before = contents(tmp_path)
    with pytest.raises(AnnotationError, match="holds another set of cells.*--overwrite"):
        write(tmp_path, (row("new"), grey()))
    assert contents(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_overwrite_removes_what_the_old_table_lists_and_nothing_else(tmp_path):
    write(tmp_path, (row("old", label="CTC"), grey()), (row("both"), grey(1)))
    (tmp_path / "notes.txt").write_text("mine")
    write_image(tmp_path / "figures/plot.png", grey())
    write(tmp_path, (row("new"), grey()), (row("both"), grey(2)), overwrite=True)
    assert sorted(contents(tmp_path)) == [
        "all/unlabelled/both__dapi.png", "all/unlabelled/new__dapi.png", "cells.csv", "figures/plot.png", "notes.txt",
    ]  # fmt: skip
    assert not (tmp_path / "all/CTC").exists()
    assert read_image(tmp_path / "all/unlabelled/both__dapi.png")[0, 0] == 2


def test_images_that_no_table_lists_are_not_mixed_in(tmp_path):
    write_image(tmp_path / "all/CTC/stranger.jpg", grey())
    for overwrite in (False, True):
        with pytest.raises(AnnotationError, match="stranger.jpg: an image that no cells.csv lists"):
            write(tmp_path, (row(), grey()), overwrite=overwrite)
    assert list(contents(tmp_path)) == ["all/CTC/stranger.jpg"]


def test_a_crash_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path / "out", (row("old"), grey()))
    before = contents(tmp_path)

    def interrupted():
        with CellSetWriter(tmp_path / "out") as writer:
            writer.add(row("new"), grey())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == before


def test_a_crash_while_taking_the_place_leaves_no_table(tmp_path, monkeypatch):
    pairs = [(row(f"c{i}"), grey(i)) for i in range(3)]
    write(tmp_path / "whole", *pairs)
    write(tmp_path / "out", *pairs)
    replace_file = type(tmp_path).replace

    def fails(path, target):
        # Staged and wanted name are the same for the last image: only the exchange moves it so.
        if path.name == "c2__dapi.png" and target.name == "c2__dapi.png":
            raise OSError(28, "No space left on device", str(target))
        return replace_file(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", fails)
        with pytest.raises(OSError, match="No space"):
            write(tmp_path / "out", *pairs)
    assert not (tmp_path / "out/cells.csv").exists()
    write(tmp_path / "out", *pairs)  # what the interrupted run left is what this one writes
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_cells_are_counted_by_label_not_by_image():
    rows = [row("a", "bf", label="WBC"), row("a", "dapi", label="WBC"), row("b", label="CTC"), row("c", label="Other")]
    assert count_cells([]) == {}
    assert count_cells(rows) == {"CTC": 1, "Other": 1, "WBC": 1}
    assert list(count_cells(rows)) == ["CTC", "Other", "WBC"]


@pytest.fixture
def table(tmp_path):
    write(tmp_path, (row("a", label="CTC"), grey()), (row("b"), grey()))
    path = tmp_path / "cells.csv"

    def edit(old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return path

    return edit


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",keep", "", "no line names all of the columns path,label"),
        (",keep", ",keep,path", "has the column 'path' twice"),
        ("b__dapi.png,", "gone.png,", "line 3: `path` names no file below"),
        ("all/unlabelled/b__dapi.png,", "../x.png,", "line 3: `path` must be a relative POSIX path"),
        ("all/unlabelled/b__dapi.png,", "C:\\x.png,", "line 3: `path` must be a relative POSIX path"),
        ("all/unlabelled/b__dapi.png,", ",", "line 3: `path` must be a relative"),
        ("all/unlabelled/b__dapi.png,", "all/CTC/a__dapi.png,", "line 3: `path` .* stands in line 2 too"),
        (",b,dapi", ",a,dapi", "line 3: cell 'a' has channel 'dapi' twice"),
        (",b,dapi", ",a,bf", "line 3: cell 'a' has label 'CTC' in channel 'dapi' and 'unlabelled'"),
        (",b,dapi", ",,dapi", "line 3: `cell_id` must be text"),
        ("unlabelled,b", "a/b,b", "line 3: `label` becomes a folder"),
        ("0,0,4,5,,all,,true\n", "0,0,4,five,,all,,true\n", "line 2: `y1` must be a number. Received: 'five'"),
        ("0,0,4,5,,all,,true\n", "0,0,4,-5,,all,,true\n", "line 2: `box_xyxy` must have a positive area"),
        ("0,0,4,5,,all,,true\n", "0,0,4,5,,all,x,true\n", "line 2: `fold` must be a whole number. Received: 'x'"),
        ("0,0,4,5,,all,,true\n", "0,0,4,5,-1,all,,true\n", "line 2: `um_per_px` must be a positive"),
        ("0,0,4,5,,all,,true\n", "0,0,4,5,,all,,maybe\n", "line 2: `keep` must be true or false. Received: 'maybe'"),
        ("0,0,4,5,,all,,true\n", "0,0,4,5,,all,,true,6\n", "line 2: has 15 values where the header has 14"),
        ("0,0,4,5,,all,,true\n", '0,0,4,5,,all,,"true\n', "mend the quotes"),
    ],
)
def test_errors_in_the_table_name_file_and_line(table, old, new, message):
    path = table(old, new)
    with pytest.raises(AnnotationError, match=message) as error:
        read_cells_csv(path)
    assert str(path) in str(error.value)


def test_a_missing_table_and_a_table_without_images(tmp_path, table):
    with pytest.raises(AnnotationError, match="no such table"):
        read_cells_csv(tmp_path / "all")
    (tmp_path / "all/CTC/a__dapi.png").unlink()
    assert len(read_cells_csv(tmp_path, check_images=False)) == 2


def test_a_european_spreadsheet_writes_commas_in_numbers(tmp_path):
    write(tmp_path, (row("a", um_per_px=0.25, box_xyxy=(0.5, 1, 4, 5.75)), grey()))
    path = tmp_path / "cells.csv"
    path.write_text(
        path.read_text().replace(",", ";").replace(".5;", ",5;").replace(".75;", ",75;").replace(".25", ",25")
    )
    (found,) = read_cells_csv(path)
    assert (found.box_xyxy, found.um_per_px) == ((0.5, 1, 4, 5.75), 0.25)
    path.write_text(path.read_text().replace(";0,5;", ";0,5,1;"))
    with pytest.raises(AnnotationError, match=r"line 2: `x0` must be a number. Received: '0,5,1'"):
        read_cells_csv(path)


def test_labels_may_be_edited_in_a_spreadsheet(tmp_path, table):
    path = table("unlabelled,b", "WBC,b")
    text = path.read_text().replace(",", ";").replace("true", "TRUE").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [(one.label, one.path, one.keep) for one in read_cells_csv(path)] == [
        ("CTC", "all/CTC/a__dapi.png", True),
        ("WBC", "all/unlabelled/b__dapi.png", True),
    ]
    with pytest.raises(AnnotationError, match="another set"):  # the edits are not lost by a second run
        write(tmp_path, (row("a", label="CTC"), grey()), (row("b"), grey()))


NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
NUMBERS = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(NAMES, NAMES, NAMES, NUMBERS, NUMBERS, st.floats(1e-3, 1e3), st.one_of(st.none(), st.integers(0, 99)))
def test_what_is_formatted_can_be_read(tmp_path_factory, cell_id, channel, group, x0, y0, size, fold):
    box_xyxy = tuple(np.float32([x0, y0, x0 + 1 + size, y0 + 1 + size]).tolist())
    one = row(cell_id, channel, group=group, box_xyxy=box_xyxy, um_per_px=size, fold=fold, path="a.png")
    folder = tmp_path_factory.mktemp("cells")
    (folder / "cells.csv").write_text(format_cells_csv([one]), encoding="utf-8")
    assert read_cells_csv(folder, check_images=False) == [one]
    assert next(csv.DictReader(io.StringIO(format_cells_csv([one]))))["cell_id"] == cell_id
