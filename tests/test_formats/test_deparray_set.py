"""From an export to a set of cells: labels, groups, twins, and a count of everything that does not fit."""

import numpy as np
import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats import deparray
from ctc_mm.formats import deparray_set as made
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.formats.deparray import parse_channels
from ctc_mm.formats.deparray_set import DEPArrayOptions, convert_export
from ctc_mm.formats.labels import LabelRules
from ctc_mm.imaging.io import write_image


class Lab:
    """An export folder, its table, and where the cells go."""

    def __init__(self, folder):
        self.export, self.table, self.out = folder / "export", folder / "t.csv", folder / "out"
        self.export.mkdir()

    def images(self, *names, dtype=np.uint8, shape=(6, 5)):
        for index, name in enumerate(names):
            write_image(self.export / name, np.full(shape, index + 1, dtype))

    def convert(self, table=None, **options):
        if table is not None:
            self.table.write_text(table)
        return convert_export(self.export, self.out, table and self.table, DEPArrayOptions(**options))

    def rows(self):
        return read_cells_csv(self.out)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def test_an_empty_export(lab):
    with pytest.raises(AnnotationError, match="none of 0 images"):
        lab.convert()
    assert not lab.out.exists()


def test_twins_and_their_rows(lab):
    lab.images("S1/1_BF.png", "S1/1_DAPI.png", "S1/2_BF.png", "S1/2_DAPI.png", dtype=np.uint16)
    report = lab.convert(
        "Patient,Sample,Cell,Class,Keep,Area\nP7,S1,1,tumour cell,yes,81.5\nP7,S1,2.0,Leukocyte,no,\n",
        extra=("Area",), um_per_px=0.4,
    )  # fmt: skip
    found = [(r.cell_id, r.channel, r.label, r.group, r.source, r.keep, dict(r.extra)) for r in lab.rows()]
    assert found == [
        ("S1/1", "brightfield", "CTC", "P7", "S1/1_BF.png", True, {"sample": "S1", "Area": "81.5"}),
        ("S1/1", "dapi", "CTC", "P7", "S1/1_DAPI.png", True, {"sample": "S1", "Area": "81.5"}),
        ("S1/2", "brightfield", "WBC", "P7", "S1/2_BF.png", False, {"sample": "S1"}),
        ("S1/2", "dapi", "WBC", "P7", "S1/2_DAPI.png", False, {"sample": "S1"}),
    ]
    assert {(r.box_xyxy, r.um_per_px, r.split, r.fold) for r in lab.rows()} == {((0, 0, 5, 6), 0.4, "all", None)}
    assert lab.rows()[1].path == "all/CTC/S1_1__dapi.png"
    image = read_cell_image(lab.out / lab.rows()[1].path)
    assert (image.dtype, image.shape, image.max()) == (np.uint16, (6, 5), 2)
    assert (report.images, report.cells, report.classes) == (4, {"CTC": 1, "WBC": 1}, ("CTC", "WBC"))
    assert (report.skipped, report.notes) == ({}, {made.NOT_CHOSEN: ["S1/2"]})


def test_without_table_cells_are_unlabelled_and_grouped_by_sample_or_patient(lab):
    lab.images("S1/1_BF.png", "P2/S1/1_BF.png")
    report = lab.convert()
    assert [(r.cell_id, r.label, r.group) for r in lab.rows()] == [
        ("P2/S1/1", "unlabelled", "P2"), ("S1/1", "unlabelled", "S1"),
    ]  # fmt: skip
    assert report.cells == {"unlabelled": 2}


def test_the_table_may_give_boxes(lab):
    lab.images("S1/1_BF.png", "S1/2_BF.png")
    lab.convert("Cell,x0,y0,x1,y1\n1,10,20.5,15,26.5\n2,,,,\n")
    assert [r.box_xyxy for r in lab.rows()] == [(10, 20.5, 15, 26.5), (0, 0, 5, 6)]


def test_classes_from_folders(lab):
    lab.images("tumor/1_BF.png", "WBC/2_BF.png")
    pattern = r"(?P<label>[^/]+)/(?P<cell>\d+)_(?P<channel>\w+)\.png"
    lab.convert(pattern=pattern)
    assert [(r.cell_id, r.label, r.group) for r in lab.rows()] == [
        ("export/1", "CTC", "export"), ("export/2", "WBC", "export"),
    ]  # fmt: skip
    report = lab.convert("Cell,Class\n1,CTC\n2,CTC\n", pattern=pattern, overwrite=True)
    assert [r.cell_id for r in lab.rows()] == ["export/1"]
    assert list(report.skipped) == [deparray.TWO_LABELS]


def test_a_cell_without_row_stays_with_its_patient(lab):
    lab.images("S1/1_BF.png", "S1/2_BF.png", "S2/1_BF.png", "S2/2_BF.png", "S2/3_BF.png")
    report = lab.convert("Sample,Patient,Cell,Class\nS1,P1,1,CTC\nS2,P2,1,WBC\nS2,P3,2,WBC\n")
    assert [(r.cell_id, r.label, r.group) for r in lab.rows()] == [
        ("S1/1", "CTC", "P1"), ("S1/2", "unlabelled", "P1"),
        ("S2/1", "WBC", "P2"), ("S2/2", "WBC", "P3"), ("S2/3", "unlabelled", "S2"),
    ]  # fmt: skip
    assert report.notes == {deparray.NO_ROW: ["S1/2", "S2/3"], made.TWO_PATIENTS: ["s2 (P2, P3)"]}


def test_unknown_labels(lab):
    lab.images("S1/1_BF.png", "S1/2_BF.png", "S1/3_BF.png")
    table = "Cell,Class\n1,CTC\n2,macrophage\n3,debris\n"
    with pytest.raises(AnnotationError, match=r"2 problems(.|\n)*line 3: unknown label 'macrophage'(.|\n)*'debris'"):
        lab.convert(table)
    report = lab.convert(table, rules=LabelRules({"debris": "__ignore__"}, skip_unknown=True))
    assert report.cells == {"CTC": 1}
    assert report.skipped_counts == {made.UNKNOWN_LABEL: 1, made.IGNORED: 1}
    lab.convert(table, rules=LabelRules({"macrophage": "Macrophage", "debris": "Macrophage"}), overwrite=True)
    assert [r.label for r in lab.rows()] == ["CTC", "Macrophage", "Macrophage"]


def test_a_table_of_another_folder_is_refused(lab):
    lab.images("export/S1/1_BF.png", "export/S1/2_BF.png")  # the folder above the export was given
    with pytest.raises(AnnotationError, match=r"line 2: neither this row \(P7/S1/1\) nor any.*'export/S1/1'"):
        lab.convert("Patient,Sample,Cell,Class\nP7,S1,1,CTC\nP7,S1,2,WBC\n")
    assert not lab.out.exists()


# What does not fit, made by hand: files, table, the reason, whether it is left out, and what is still written.
FAULTS = {
    "lacks a channel": (
        ("S1/1_BF.png", "S1/1_DAPI.png", "S1/2_BF.png"), "Cell,Class\n1,CTC\n2,CTC\n",
        deparray.LACKS_CHANNEL, "S1/2 (dapi)", 3,
    ),
    "row without image": (("S1/1_BF.png",), "Cell,Class\n1,CTC\n2,CTC\n", deparray.NO_IMAGE, "{table}, line 3: 2", 1),
    "image without row": (("S1/1_BF.png", "S1/2_BF.png"), "Cell,Class\n1,CTC\n", deparray.NO_ROW, "S1/2", 2),
    "same image": (
        ("S1/01_BF.png", "S1/1_BF.png"), "Cell,Class\n1,CTC\n",
        deparray.SAME_IMAGE, "S1/1_BF.png (taken: S1/01_BF.png)", 1,
    ),
    "same row": (("S1/1_BF.png",), "Cell,Class\n1,CTC\n1,CTC\n", deparray.SAME_ROW, "{table}, line 3", 1),
    "contradiction": (
        ("S1/1_BF.png", "S1/2_BF.png"), "Cell,Class\n1,CTC\n1,WBC\n2,CTC\n",
        deparray.CONTRADICTION, "{table}, line 2 (CTC); {table}, line 3 (WBC)", 1,
    ),
    "no match": (("S1/1_BF.png", "overview.png"), "Cell,Class\n1,CTC\n", deparray.NO_MATCH, "overview.png", 1),
    "other channel": (
        ("S1/1_BF.png", "S1/1_overlay.png"), "Cell,Class\n1,CTC\n",
        deparray.OTHER_CHANNEL, "S1/1_overlay.png (overlay)", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "table", "reason", "place", "written"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_is_counted_and_strict_refuses_it(lab, names, table, reason, place, written):
    lab.images(*names)
    with pytest.raises(AnnotationError, match="refused by --strict, nothing written") as error:
        lab.convert(table, strict=True)
    assert reason in str(error.value)
    assert not lab.out.exists()
    report = lab.convert(table)
    assert {**report.skipped, **report.notes} == {reason: [place.format(table=lab.table)]}
    assert len(lab.rows()) == report.images == written


def test_unreadable_images_are_counted_and_strict_refuses_them(lab):
    lab.images("S1/1_BF.png", "S1/2_BF.png", "S1/3_BF.png", "S1/4_BF.png")
    whole = (lab.export / "S1/2_BF.png").read_bytes()
    (lab.export / "S1/2_BF.png").write_bytes(whole[: len(whole) // 2])
    (lab.export / "S1/3_BF.png").write_bytes(b"")
    write_image(lab.export / "S1/5_BF.tif", np.full((2, 2), np.nan, np.float32))
    report = lab.convert()
    assert [place.split(":")[0] for place in report.skipped[made.UNREADABLE]] == [
        "S1/2_BF.png", "S1/3_BF.png", "S1/5_BF.tif",
    ]  # fmt: skip
    assert "NaN" in report.skipped[made.UNREADABLE][2]
    assert [r.cell_id for r in lab.rows()] == ["S1/1", "S1/4"]
    before = (lab.out / "cells.csv").read_bytes()
    with pytest.raises(AnnotationError, match="refused by --strict"):
        lab.convert(strict=True)
    assert (lab.out / "cells.csv").read_bytes() == before
    assert sorted(path.name for path in lab.out.iterdir()) == ["all", "cells.csv"]


def test_no_readable_image_at_all(lab):
    (lab.export / "S1").mkdir()
    (lab.export / "S1/1_BF.png").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"no cell is left to write:(.|\n)*S1/1_BF.png"):
        lab.convert()
    assert not lab.out.exists()


def test_twins_of_different_size_are_noted(lab):
    lab.images("S1/1_BF.png")
    lab.images("S1/1_DAPI.png", shape=(8, 8, 3))
    report = lab.convert()
    assert report.notes == {made.SIZES_DIFFER: ["S1/1 (brightfield 5 x 6 px, dapi 8 x 8 px)"]}
    with pytest.raises(AnnotationError, match="refused by --strict"):
        lab.convert(strict=True)


def test_told_channels_have_to_be_there(lab):
    lab.images("S1/1_CH0.png", "S1/1_BF.png")
    report = lab.convert(channels=parse_channels("brightfield=CH0,dapi=CH1"))
    assert [(r.channel, r.source) for r in lab.rows()] == [("brightfield", "S1/1_CH0.png")]
    assert report.notes == {deparray.LACKS_CHANNEL: ["S1/1 (dapi)"]}


def test_other_files_and_columns_are_reported_and_no_problem(lab):
    lab.images("S1/1_BF.png")
    (lab.export / "S1/readme.md").write_text("x")
    (lab.export / ".DS_Store").write_text("x")
    lab.table = lab.export / "t.csv"
    report = lab.convert("Cell,Class,Name of patient\n1,CTC,N. N.\n", strict=True)
    assert report.skipped == {made.NO_IMAGE_FILE: ["S1/readme.md"]}
    assert report.notes == {made.UNUSED_COLUMN: ["Name of patient"]}
    assert "N. N." not in (lab.out / "cells.csv").read_text()


def test_the_order_of_rows_does_not_matter(lab, tmp_path):
    lab.images("S1/1_BF.png", "S1/2_BF.png", "S2/1_BF.png")
    rows = ["S1,1,CTC", "S1,2,WBC", "S2,1,CTC"]
    lab.convert("\n".join(["Sample,Cell,Class", *rows]))
    first = (lab.out / "cells.csv").read_bytes()
    lab.convert("\n".join(["Sample,Cell,Class", *rows[::-1]]))  # the same set: replaced without --overwrite
    assert (lab.out / "cells.csv").read_bytes() == first


def test_the_output_is_never_read_as_input(lab):
    lab.images("S1/1_BF.png")
    for out in (lab.export, lab.export / "cells"):
        with pytest.raises(AnnotationError, match="where a second run would read it"):
            convert_export(lab.export, out)


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="named groups"):
        DEPArrayOptions(pattern=".*")
    for name in ("group", "sample"):
        with pytest.raises(ValueError, match=f"`extra` names '{name}'"):
            DEPArrayOptions(extra=(name,))


def test_a_value_that_cannot_be_written_is_told_with_image_and_line(lab):
    lab.images("S1/1_BF.png", "S1/2_BF.png")
    rules = LabelRules({"blast": "a/b"})
    with pytest.raises(
        AnnotationError, match=r"export/S1/2_BF\.png, .*t\.csv, line 3: `label` becomes a folder.*'a/b'"
    ):
        lab.convert("Cell,Class\n1,CTC\n2,blast\n", rules=rules)
    assert not lab.out.exists()


def test_linked_folders_of_patients_are_read_and_a_link_to_nothing_is_counted(lab, tmp_path):
    lab.images("S1/1_BF.png")
    (lab.export / "S1").rename(tmp_path / "elsewhere")
    (lab.export / "S1").symlink_to(tmp_path / "elsewhere")
    (lab.export / "S2").mkdir()
    (lab.export / "S2/7_BF.png").symlink_to(tmp_path / "nothing.png")
    report = lab.convert()
    assert [row.cell_id for row in lab.rows()] == ["S1/1"]
    assert report.skipped == {made.UNREADABLE: ["S2/7_BF.png: no such image file; check the path"]}
