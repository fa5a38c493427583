"""Fields of a folder: one file each, or groups of files by pattern; what belongs to none is told."""

import pickle
import warnings

import numpy as np
import pytest

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.io import list_fields, write_image, write_ome_tiff

PATTERNS = "dapi=*_DAPI.tif,cep8=*_CEP8.tif"


def touch(folder, *names):
    for value, name in enumerate(names):
        write_image(folder / name, np.full((4, 5), value, np.uint8))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ImageReadError, match=r"no field found; there are: no file with a suffix of \.png"):
        list_fields(tmp_path)
    with pytest.raises(AnnotationError, match="is not a folder"):
        list_fields(tmp_path / "nowhere")


def test_each_file_is_a_field_in_the_order_of_names(tmp_path):
    touch(tmp_path, "b.png", "a/c.tif", "a/b.jpg", ".hidden.png")
    write_ome_tiff(tmp_path / "a" / "z.ome.tif", np.zeros((2, 4, 5), np.uint8), ["DAPI", "CEP8"], 0.5)
    (tmp_path / "notes.txt").write_text("not a field")
    fields = list_fields(tmp_path)
    assert [field.name for field in fields] == ["a/b", "a/c", "a/z", "b"]
    assert [field.relative_path for field in fields] == ["a/b.jpg", "a/c.tif", "a/z.ome.tif", "b.png"]
    with fields[2].open() as field:
        assert (field.name, field.channels, field.um_per_px) == ("a/z", ("DAPI", "CEP8"), 0.5)
    with fields[3].open(um_per_px=0.2) as field:
        assert field.um_per_px == 0.2


def test_the_channel_map_goes_to_each_file(tmp_path):
    write_ome_tiff(tmp_path / "z.ome.tif", np.arange(40, dtype=np.uint8).reshape(2, 4, 5), ["DAPI", "CEP8"])
    (source,) = list_fields(tmp_path, {"cep8": "CEP8"})
    with source.open() as field:
        assert field.channels == ("cep8",)
        assert field.read()[0, 0, 0] == 20
    with pickle.loads(pickle.dumps(source)).open() as field:
        assert field.channels == ("cep8",)


def test_files_of_one_field_go_together(tmp_path):
    touch(
        tmp_path, "p2/f1_DAPI.tif", "p2/f1_CEP8.tif", "p1/f1_CEP8.TIF", "p1/f1_dapi.tif", "f0_DAPI.tif", "f0_CEP8.tif"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = list_fields(tmp_path, PATTERNS)
    assert [field.name for field in fields] == ["f0", "p1/f1", "p2/f1"]
    assert fields[1].relative_path == "p1/f1_dapi.tif"
    with fields[2].open() as field:
        assert field.channels == ("dapi", "cep8")
        assert field.name == "p2/f1"
        np.testing.assert_array_equal(field.read()[:, 0, 0], [0, 1])


@pytest.mark.parametrize(
    ("patterns", "names", "expected"),
    [
        ({"a": "DAPI/*.tif", "b": "CD45/*.tif"}, ["DAPI/x.tif", "CD45/x.tif"], ["x"]),
        ({"a": "*/DAPI/*.tif", "b": "*/CD45/*.tif"}, ["p1/DAPI/x.tif", "p1/CD45/x.tif"], ["p1/x"]),
        ({"a": "*/DAPI.png", "b": "*/CD45.png"}, ["p1/f2/DAPI.png", "p1/f2/CD45.png"], ["p1/f2"]),
        ({"a": "*.png", "b": "*_cd45.png"}, ["x.png", "x_cd45.png"], ["x"]),
        ({"a": "*_w1*.png", "b": "*_w2*.png"}, ["x_w1_s3.png", "x_w2_s3.png"], ["x/_s3"]),
        ({"a": "*(1).png", "b": "*[2].png"}, ["x(1).png", "x[2].png"], ["x"]),
    ],
    ids=[
        "folder a channel",
        "under patients",
        "folder a field",
        "longest pattern",
        "two stars",
        "no regular expression",
    ],
)
def test_patterns_find_common_layouts(tmp_path, patterns, names, expected):
    touch(tmp_path, *names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = list_fields(tmp_path, patterns)
    assert [field.name for field in fields] == expected
    assert [path.relative_to(tmp_path).as_posix() for path in fields[0].paths.values()] == names


def test_what_belongs_to_no_field_is_counted(tmp_path):
    touch(tmp_path, "f1_DAPI.tif", "f1_CEP8.tif", "f2_DAPI.tif", "overview.png")
    report = ConversionReport()
    fields = list_fields(tmp_path, PATTERNS, report=report)
    assert [field.name for field in fields] == ["f1"]
    assert report.skipped == {
        "image that no channel's file name pattern fits": ["overview.png"],
        "field that lacks a channel's file": ["f2: has f2_DAPI.tif; lacks cep8"],
    }
    with pytest.warns(UserWarning, match=r"2 left out: .*overview\.png; .*f2: has f2_DAPI\.tif; lacks cep8"):
        list_fields(tmp_path, PATTERNS)


def test_no_group_at_all_shows_what_is_there(tmp_path):
    touch(tmp_path, "f1-dapi.tif")
    with pytest.raises(ImageReadError, match=r"no field found that fits .*\*_DAPI\.tif.*; there are: f1-dapi\.tif"):
        list_fields(tmp_path, PATTERNS, report=ConversionReport())


def test_two_files_for_one_channel_are_refused(tmp_path):
    touch(tmp_path, "f1_DAPI.tif", "f1_dapi.TIF", "f1_CEP8.tif")
    with pytest.raises(ImageReadError, match=r"channel 'dapi' has two files for one field: f1_DAPI\.tif and f1_dapi"):
        list_fields(tmp_path, PATTERNS)


def test_names_that_differ_in_case_or_in_the_writing_of_accents_are_one(tmp_path):
    touch(tmp_path, "S1_DAPI.tif", "s1_CEP8.tif", "\u017d1_DAPI.tif", "Z\u030c1_CEP8.tif")
    fields = list_fields(tmp_path, PATTERNS)
    assert [[path.name[-8:] for path in field.paths.values()] for field in fields] == [["DAPI.tif", "CEP8.tif"]] * 2
    assert sorted(field.name for field in fields)[0] == "S1"


@pytest.mark.parametrize("other", ["f1.png", "F1.TIF", "f1.ome.tif"])
def test_two_fields_of_one_name_are_refused(tmp_path, other):
    touch(tmp_path, "a/f1.tif", "f1.tif", "f2.tif")
    assert [field.name for field in list_fields(tmp_path)] == ["a/f1", "f1", "f2"]
    touch(tmp_path, other)
    with pytest.raises(ImageReadError, match=r"[fF]1\.\S+ and f1\.\w+ are two fields of one name; remove"):
        list_fields(tmp_path)


def test_microscope_files_that_are_not_read_are_counted(tmp_path):
    for name in ("b.czi", "a/c.ND2", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    reason = "microscope file of a kind that is not read (export it as OME-TIFF)"
    with pytest.raises(
        ImageReadError, match=r"no field found; there are: no file .*export it as OME-TIFF\): a/c\.ND2, b"
    ):
        list_fields(tmp_path, report=ConversionReport())
    touch(tmp_path, "f1.tif")
    report = ConversionReport()
    assert [field.name for field in list_fields(tmp_path, report=report)] == ["f1"]
    assert report.skipped == {reason: ["a/c.ND2", "b.czi"]}


def test_a_folder_named_like_an_image_is_none_and_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "lost.tif").symlink_to(tmp_path / "nothing.tif")
    (source,) = list_fields(tmp_path)
    with pytest.raises(ImageReadError, match=r"lost\.tif: no such image file"):
        source.open()
