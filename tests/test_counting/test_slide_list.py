"""Which slides are counted: files, folders, patterns and tables, and everything that is wrong with them at once."""

import pickle
import warnings

import numpy as np
import openpyxl
import pytest
import zarr

from ctc_mm.counting.slide_list import find_slides, name_for_files
from ctc_mm.errors import SlideError
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.io import write_image, write_ome_tiff


@pytest.fixture
def slides(tmp_path):
    """Slides of two patients and one by itself; hidden and other files beside them."""
    for name in ("p1/a.tif", "p1/b.tif", "p2/a.png", "c.tif", ".hidden.tif"):
        write_image(tmp_path / name, np.ones((8, 5), np.uint8))
    (tmp_path / "notes.txt").write_text("not a slide")
    return tmp_path


def names(specs):
    return [spec.name for spec in specs]


def problems(*inputs, **options):
    with pytest.raises(SlideError) as error:
        find_slides(inputs, **options)
    return str(error.value)


def write_table(folder, text, name="slides.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_nothing_is_given(tmp_path):
    assert problems() == ("no slide is given; name files, folders, patterns such as 'day1/*.tif', or a table of slides")
    assert problems(tmp_path).startswith(f"{tmp_path}: no field found; there are: no file with a suffix of")
    assert problems(tmp_path / "no.tif") == f"{tmp_path / 'no.tif'}: no such file or folder; check the path"
    assert (
        problems(tmp_path / "*.tif") == f"{tmp_path / '*.tif'}: no image or folder has such a name; check the pattern"
    )


def test_files_in_the_order_given(slides):
    specs = find_slides([slides / "p1" / "b.tif", str(slides / "p1" / "a.tif")], volume_ml=2, patient="P")
    assert names(specs) == ["b", "a"]
    assert {(one.patient, one.role, one.volume_ml, one.dilution, one.blood_ml) for one in specs} == {
        ("P", "patient", 2, 1.0, 2)
    }
    with specs[0].source.open() as field:
        assert field.size_wh == (5, 8)


def test_a_folder_and_a_pattern_name_slides_by_their_folders(slides):
    assert names(find_slides([slides])) == ["c", "p1_a", "p1_b", "p2_a"]
    assert names(find_slides([slides / "*" / "a.*"])) == ["p1_a", "p2_a"]
    assert names(find_slides([slides / "**" / "*.tif"])) == ["c", "p1_a", "p1_b"]
    assert names(find_slides([slides / "p*"])) == ["p1_a", "p1_b", "p2_a"]
    assert names(find_slides([slides / "p1" / "[ab].tif"])) == ["a", "b"]


def test_paths_are_for_any_folder(slides, monkeypatch):
    monkeypatch.chdir(slides)
    specs = find_slides(["c.tif", "p*/b.tif"])
    monkeypatch.chdir("/")
    for spec in pickle.loads(pickle.dumps(specs)):
        with spec.source.open() as field:
            assert field.read().shape == (1, 8, 5)


def test_a_file_whose_name_looks_like_a_pattern(slides):
    write_image(slides / "x[1].png", np.ones((2, 2), np.uint8))
    assert names(find_slides([slides / "x[1].png"])) == ["x[1]"]


def test_a_zarr_folder_and_a_mosaic_are_a_slide_each(slides):
    zarr.create_array(str(slides / "z.zarr"), shape=(30, 20), chunks=(10, 10), dtype="uint8")[:] = 1
    (slides / "m").mkdir()
    write_image(slides / "m" / "f.png", np.ones((4, 6), np.uint8))
    (slides / "m" / "positions.csv").write_text("file,x_px,y_px\nf.png,0,0\n")
    assert names(find_slides([slides])) == ["c", "m", "p1_a", "p1_b", "p2_a", "z"]
    assert names(find_slides([slides / "m", slides / "z.zarr"])) == ["m", "z"]
    assert "no image or folder has such a name" in problems(slides / "**" / "f.png")
    table = write_table(slides, "slide\nm\nz.zarr\np1/a.tif\n")
    specs = find_slides([table])
    assert names(specs) == ["m", "z", "a"]
    sizes = []
    for spec in specs:
        with spec.source.open() as field:
            sizes.append(field.size_wh)
    assert sizes == [(6, 4), (20, 30), (5, 8)]


def test_one_file_a_channel(tmp_path):
    for name in ("s1_DAPI", "s1_CEP8", "s2_DAPI", "s2_CEP8", "s3_DAPI"):
        write_image(tmp_path / f"{name}.tif", np.ones((4, 4), np.uint8))
    patterns = "dapi=*_DAPI.tif,cep8=*_CEP8.tif"
    report = ConversionReport()
    (one, two) = find_slides([tmp_path], channels=patterns, report=report)
    assert report.skipped == {"field that lacks a channel's file": ["s3: has s3_DAPI.tif; lacks cep8"]}
    assert (one.name, list(one.source.paths), two.name) == ("s1", ["dapi", "cep8"], "s2")
    # A pattern meets both files of a slide, which is one slide all the same.
    assert names(find_slides([tmp_path / "s[12]*"], channels=patterns)) == ["s1", "s2"]
    assert "belongs to no complete field" in problems(tmp_path / "*", channels=patterns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        find_slides([tmp_path], channels=patterns)
    assert "1 left out" in str(caught[0].message)


def test_channels_by_place(tmp_path):
    write_ome_tiff(tmp_path / "s.ome.tif", np.arange(40, dtype=np.uint8).reshape(2, 4, 5), ["DAPI", "CEP8"], 0.5)
    (spec,) = find_slides([tmp_path / "s.ome.tif"], channels="cep8=1")
    with spec.source.open() as field:
        assert (field.channels, field.read()[0, 0, 0]) == (("cep8",), 20)
    assert problems(tmp_path, channels="cep8").startswith("`channels`: channels must be pairs like dapi=0")


TABLE = """slide,name,patient,role,volume_ml,dilution,um_per_px,spiked,channels
p1/a.tif,first,P1,patient,7.5,2,0.5,,
p1/b.tif,,P1,blank,,,,,
p2/a.png,third,,spike_in,1,,,100,"grey=0"
"""


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TABLE, "utf-8"),
        (TABLE, "utf-8-sig"),
        (TABLE.replace(",", ";").replace("7.5", "7,5").replace("0.5", "0,5"), "utf-8-sig"),
        (TABLE.replace(",", "\t"), "utf-16"),
        (TABLE.replace("/", "\\").replace("\n", "\r\n"), "cp1252"),
        (
            TABLE.replace("slide,name", "Slide, NAME ")
            .replace("volume_ml", "Volume mL")
            .replace("spike_in", "Spike-In"),
            "utf-8",
        ),
        (TABLE.replace("spike_in", ""), "utf-8"),
    ],
    ids=["plain", "bom", "semicolons", "tabs", "windows", "spelling", "spiked alone"],
)
def test_a_table_of_slides(slides, text, encoding):
    table = write_table(slides, text, encoding=encoding)
    first, second, third = find_slides([table], volume_ml=3, role="patient" if "spike" not in text else None)
    assert (first.name, first.patient, first.role, first.volume_ml, first.dilution, first.um_per_px) == (
        ("first", "P1", "patient", 7.5, 2, 0.5)
    )
    assert first.blood_ml == 3.75
    assert (second.name, second.role, second.volume_ml, second.dilution, second.um_per_px) == ("b", "blank", 3, 1, None)
    assert (third.name, third.role, third.spiked, third.volume_ml, third.patient) == ("third", "spike_in", 100, 1, "")
    assert (first.source.channels, third.source.channels) == (None, {"grey": 0})
    assert find_slides(table=table, volume_ml=3) == [first, second, third]


def test_a_workbook_of_slides(slides):
    book = openpyxl.Workbook()
    for row in (["slide", "volume_ml"], ["c.tif", 7.5]):
        book.active.append(row)
    book.save(slides / "slides.xlsx")
    (spec,) = find_slides([slides / "slides.xlsx"])
    assert (spec.name, spec.volume_ml) == ("c", 7.5)


def test_cells_added_to_all_are_not_added_to_the_blanks_of_a_table(slides):
    table = write_table(slides, "slide,role\nc.tif,blank\np1/a.tif,\n")
    blank, spiked = find_slides([table], spiked=50)
    assert (blank.role, blank.spiked, spiked.role, spiked.spiked) == ("blank", None, "spike_in", 50)


def test_everything_wrong_with_a_table_is_told_at_once(slides):
    table = write_table(
        slides,
        "slide,name,role,volume_ml,dilution,um_per_px,spiked,channels\n"
        "c.tif,,patient,-2,0,nan,,\n"
        "missing.tif,a/b,control,2 mL,,,-1,dapi\n"
        ",,,,,,,\n"
        ",x,,,,,,\n"
        "p1/a.tif,,blank,,,,5,\n"
        "p1/b.tif,ok,,,,,,\n",
    )
    lines = problems(table, slides / "nowhere.tif").splitlines()
    start = f"- {table}, line"
    assert lines == [
        "12 problems with the slides, nothing counted:",
        f"{start} 2: column 'volume_ml' must be a number above 0, without a unit. Received: '-2'",
        f"{start} 2: column 'dilution' must be a number above 0, without a unit. Received: '0'",
        f"{start} 2: column 'um_per_px' must be a number above 0, without a unit. Received: 'nan'",
        f"{start} 3: column 'role' must be one of patient, blank, spike_in. Received: 'control'",
        f"{start} 3: column 'volume_ml' must be a number above 0, without a unit. Received: '2 mL'",
        f"{start} 3: column 'spiked' must be a number of 0 or more, without a unit. Received: '-1'",
        f"{start} 3: column 'slide' names a file or folder that is not there ({slides / 'missing.tif'}); mend the "
        "path, which is relative to the table. Received: 'missing.tif'",
        f"{start} 3: column 'name' names a folder of results, and must hold none of <>:\"/\\|?* nor begin or end with "
        "a dot. Received: 'a/b'",
        f"{start} 3: column 'channels' cannot be read (channels must be pairs like dapi=0,cep8=1,cd45=2. Received: "
        "'dapi' in 'dapi'). Received: 'dapi'",
        f"{start} 5: column 'slide' must name a file or folder. Received: ''",
        f"{start} 6: slide a: `spiked` (number of cells added) belongs to role 'spike_in', and to it alone. Received: "
        "role 'blank', spiked 5.0",
        f"- {slides / 'nowhere.tif'}: no such file or folder; check the path",
    ]


def test_spike_ins_without_a_number_and_a_slide_twice_are_told_beside_other_problems(slides):
    text = "slide,role,volume_ml,spiked\nc.tif,spike_in,-1,\np1/a.tif,,,\nc.tif,,2,\n"
    table = write_table(slides, text)
    start = f"- {table}, line"
    lacks = f"{start} 2: role spike_in needs the number of added cells in column `spiked` (or --spiked N)"
    rest = [
        f"{start} 2: column 'volume_ml' must be a number above 0, without a unit. Received: '-1'",
        f"{start} 4: the slide is given before, by {table}, line 2; name it once",
    ]
    head = "{} problems with the slides, nothing counted:"
    assert problems(table).splitlines() == [head.format(3), lacks, *rest]
    assert problems(table, spiked=50).splitlines() == [head.format(2), *rest]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "slides.csv: the table is empty; export it again"),
        ("file,patient\nc.tif,P\n", "slides.csv: no line names a column 'slide'; line 1 holds: file, patient"),
        ("slide,patient\n", "slides.csv: names no slide; add a line for each"),
        (
            "slide,volume\nc.tif,1\n",
            "unknown columns 'volume' (is 'volume' meant as 'volume_ml'?); remove or rename them",
        ),
        ("slide,a,b\nc.tif,1,2\n", "unknown columns 'a', 'b'; remove"),
        ("slide,Patient,patient\nc.tif,1,2\n", "column 'patient' is there twice; keep one"),
        ("slide\n.\n", "holds 4 images, where one slide is meant; name them one by one"),
        ("slide,patient\nc.tif,P,x\n", "line 2: has 3 values where the header has 2 columns"),
        ("slide,channels\nc.tif,dapi=*_DAPI.tif\n", "line 2: "),
    ],
)
def test_tables_that_cannot_be_used(slides, text, message):
    assert message in problems(write_table(slides, text))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"volume_ml": -1}, "`volume_ml` of slide c must be a number above 0. Received: -1"),
        ({"dilution": 0}, "`dilution` of slide c must be a number above 0. Received: 0"),
        ({"um_per_px": float("nan")}, "`um_per_px` of slide c must be a number above 0. Received: nan"),
        ({"role": "control"}, "`role` of slide c must be one of patient, blank, spike_in. Received: 'control'"),
        ({"role": "spike_in"}, "`spiked` (number of cells added) belongs to role 'spike_in'"),
        ({"role": "blank", "spiked": 3}, "Received: role 'blank', spiked 3"),
    ],
)
def test_arguments_out_of_range(slides, known, message):
    text = problems(slides / "c.tif", **known)
    assert text.startswith(f"{slides / 'c.tif'}: ")
    assert message in text


def test_slides_of_one_name_are_refused(slides):
    text = problems(slides / "p1" / "a.tif", slides / "p2" / "a.png")
    assert text.startswith(
        f"{slides / 'p2' / 'a.png'}: slide name 'a' is that of {slides / 'p1' / 'a.tif'} too, and names"
    )
    table = write_table(slides, "slide,name\nc.tif,One\np1/a.tif,one\n")
    assert f"{table}, line 3: slide name 'one' is that of {table}, line 2 too" in problems(table)


def test_a_slide_given_twice_is_refused(slides):
    table = write_table(slides, "slide,name\nc.tif,again\n")
    text = problems(slides / "c.tif", table)
    assert text == f"{table}, line 2: the slide is given before, by {slides / 'c.tif'}; name it once"
    assert "given before" in problems(slides / "p1", slides / "p1" / "a.tif")


def test_files_of_other_kinds_are_told(slides):
    (slides / "slide.czi").write_bytes(b"ZISRAWFILE")
    text = problems(slides / "slide.czi")
    assert text == f"{slides / 'slide.czi'}: microscope file of a kind that is not read (export it as OME-TIFF)"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("p1/f 1", "p1_f 1"),
        ('a:b*"c"', "a_b_c_"),
        ("..", "slide"),
        ("x" * 300, "x" * 120),
        ("Zelle_ä", "Zelle_ä"),
        ("日" * 110, "日" * 66),
    ],
)
def test_names_fit_any_file_system(field, name):
    assert name_for_files(field) == name


def test_results_of_a_former_run_are_no_slides(slides):
    out = slides / "results"
    for name in ("c/overview.png", "p1_a/overview.png"):
        write_image(out / name, np.ones((2, 2), np.uint8))
    assert "results_c_overview" in names(find_slides([slides]))
    with pytest.warns(UserWarning, match=r"notes.txt: file that is no image"):
        find_slides([slides / "*"], leave_out=out)
    for given in ([slides], [slides / "**" / "*.*"], [slides / "*"]):
        report = ConversionReport()
        assert names(find_slides(given, leave_out=out, report=report)) == ["c", "p1_a", "p1_b", "p2_a"]
        assert report.skipped == ({} if given == [slides] else {"file that is no image": [str(slides / "notes.txt")]})
    assert problems(out, leave_out=out).startswith(f"{out}: lies in the folder of results {out}, and nothing in that")
    assert problems(slides, leave_out=slides).endswith("(--out), one inside that of the slides will do")
    assert "lies in the folder of results" in problems(slides / "p1" / "*.tif", leave_out=slides)
    only = slides / "p3"
    write_image(only / "out" / "c" / "overview.png", np.ones((2, 2), np.uint8))
    text = f"{only}: holds no slide, only results of a count; name the slides"
    assert problems(only, leave_out=only / "out") == text
    assert names(find_slides([out / "c" / "overview.png"], leave_out=out)) == ["overview"]
