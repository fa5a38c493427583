import numpy as np
import pytest

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channels import parse_channel_map
from ctc_mm.imaging.io import write_image, write_ome_tiff
from ctc_mm.imaging.one_field import open_bright_field, open_one_field

NEEDED = ("dapi", "cep8")
PATTERNS = parse_channel_map("dapi=*_w1.tif,cep8=*_w2.tif")


def plane(value, dtype=np.uint16):
    return np.full((6, 8), value, dtype)


@pytest.fixture
def folder(tmp_path):
    """Two fields of one file a channel, and a file that belongs to none."""
    for place, field in enumerate(("a", "b")):
        for channel in (1, 2):
            write_image(tmp_path / f"{field}_w{channel}.tif", plane(100 * place + channel))
    write_image(tmp_path / "a_w3.tif", plane(9))
    return tmp_path


def values(field, *names):
    with field:
        return [int(one.max()) for one in field.read(names or None)]


def test_channels_by_their_names_in_the_file(tmp_path):
    path = tmp_path / "f.ome.tif"
    write_ome_tiff(path, np.stack([plane(3), plane(1), plane(2)]), ["CD45", "DAPI", "Cep8"], 0.5)
    field = open_one_field(path, needed=NEEDED, optional=["cd45"])
    assert (field.channels, field.um_per_px) == (("dapi", "cep8", "cd45"), 0.5)
    assert values(field) == [1, 2, 3]
    assert values(open_one_field(path, needed=["dapi"])) == [1]
    assert values(open_one_field(path, um_per_px=0.1, needed=["dapi"])) == [1]


def test_channels_by_place_and_pixel_size_given(tmp_path):
    path = tmp_path / "f.ome.tif"
    write_ome_tiff(path, np.stack([plane(1), plane(2)]), ["x", "y"], 0.5)
    with open_one_field(path, {"dapi": 1, "cep8": "x"}, 0.2, needed=NEEDED) as field:
        assert field.um_per_px == 0.2
        assert [int(one.max()) for one in field.read()] == [2, 1]


def test_one_channel_needs_no_name(tmp_path):
    write_image(tmp_path / "grey.png", plane(7, np.uint8))
    write_image(tmp_path / "blue.png", np.stack([plane(0, np.uint8), plane(1, np.uint8), plane(8, np.uint8)], axis=2))
    assert values(open_one_field(tmp_path / "grey.png", needed=["dapi"])) == [7]
    assert values(open_one_field(tmp_path / "blue.png", needed=["dapi"])) == [8]


def test_unnamed_channels_are_an_error_with_the_cure(tmp_path):
    path = tmp_path / "f.ome.tif"
    write_ome_tiff(path, np.stack([plane(1), plane(2)]), ["one", "two"])
    with pytest.raises(ImageReadError, match=r"f\.ome\.tif.*one, two.*dapi, cep8.*dapi=0,cep8=1"):
        open_one_field(path, needed=NEEDED)
    with pytest.raises(ImageReadError, match="dapi=0"):
        open_one_field(path, needed=["dapi"])


def test_map_without_a_needed_channel(tmp_path):
    with pytest.raises(ValueError, match=r"channels dapi are given, cep8 is missing; add for example cep8=1"):
        open_one_field(tmp_path / "none.tif", {"dapi": 0}, needed=NEEDED)
    with pytest.raises(ValueError, match=r"cep8 is missing; add for example cep8=0"):
        open_one_field(tmp_path / "none.tif", {"dapi": 1}, needed=NEEDED)
    with pytest.raises(ValueError, match=r"cep8 is missing; add for example cep8=\*_cep8\.tif"):
        open_one_field(tmp_path / "none.tif", {"dapi": "*_w1.tif"}, needed=NEEDED)


def test_one_file_a_channel_named_by_any_of_its_files(folder):
    for name in ("b_w1.tif", "b_w2.tif"):
        field = open_one_field(folder / name, PATTERNS, needed=NEEDED)
        assert field.name == "b"
        assert values(field) == [101, 102]


def test_one_file_a_channel_in_folders_of_their_own(tmp_path, monkeypatch):
    for place, channel in enumerate(("DAPI", "CEP8")):
        (tmp_path / channel).mkdir()
        for name in ("s1", "s2"):
            write_image(tmp_path / channel / f"{name}.png", plane(10 * place + int(name[1]), np.uint8))
    channels = parse_channel_map("dapi=DAPI/*.png,cep8=CEP8/*.png")
    assert values(open_one_field(tmp_path / "CEP8" / "s2.png", channels, needed=NEEDED)) == [2, 12]
    monkeypatch.chdir(tmp_path / "CEP8")  # the pattern's folder lies above what the path names
    assert values(open_one_field("s1.png", channels, needed=NEEDED)) == [1, 11]


def test_folder_of_a_single_field(folder):
    with pytest.raises(ImageReadError, match=r"holds 2 fields; give a file of one of them, such as a_w1\.tif, b_w1"):
        open_one_field(folder, PATTERNS, needed=NEEDED)
    (folder / "b_w1.tif").unlink()
    assert values(open_one_field(folder, PATTERNS, needed=NEEDED)) == [1, 2]
    with pytest.raises(ImageReadError, match=r"b_w2\.tif: belongs to no complete field.*lacks dapi"):
        open_one_field(folder / "b_w2.tif", PATTERNS, needed=NEEDED)


def test_file_that_fits_no_pattern_or_is_not_there(folder):
    with pytest.raises(ImageReadError, match=r"a_w3\.tif: belongs to no complete field of dapi=\*_w1\.tif"):
        open_one_field(folder / "a_w3.tif", PATTERNS, needed=NEEDED)
    with pytest.raises(ImageReadError, match=r"c_w1\.tif: no such image file"):
        open_one_field(folder / "c_w1.tif", PATTERNS, needed=NEEDED)


def test_bright_field_in_colour_in_grey_and_among_others(tmp_path):
    write_image(tmp_path / "colour.png", np.stack([plane(value, np.uint8) for value in (1, 2, 3)], axis=2))
    write_image(tmp_path / "grey.png", plane(7, np.uint8))
    write_ome_tiff(tmp_path / "two.ome.tif", np.stack([plane(4), plane(5)]), ["DAPI", "BrightField"])
    with open_bright_field(tmp_path / "colour.png", um_per_px=0.3) as field:
        assert (field.channels, field.um_per_px) == (("red", "green", "blue"), 0.3)
    for name, channels, value in (
        ("grey.png", None, 7),
        ("two.ome.tif", None, 5),
        ("two.ome.tif", {"brightfield": "DAPI"}, 4),
        ("colour.png", {"brightfield": "green"}, 2),
    ):
        with open_bright_field(tmp_path / name, channels) as field:
            assert field.channels == ("brightfield",)
            assert int(field.read().max()) == value
    with pytest.raises(ValueError, match="brightfield is missing"):
        open_bright_field(tmp_path / "grey.png", {"dapi": 0})
