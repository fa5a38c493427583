"""Fields: channels by name, regions, several files, arrays; whatever is wrong is told by file, channel and shape."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import (
    field_from_arrays,
    image_size_wh,
    open_field,
    read_image,
    write_image,
    write_ome_tiff,
)

HEIGHT, WIDTH = 37, 53


def planes(dtype=np.uint16, channels=3, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=(channels, height, width)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (channels, height, width), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_array_without_pixels_is_refused(shape):
    with pytest.raises(ImageReadError, match=r"channel 'dapi': the image has no pixels, shape \((0, 5|5, 0)\)"):
        field_from_arrays({"dapi": np.zeros(shape, np.uint8)})


def test_no_channel_is_refused():
    with pytest.raises(ImageReadError, match="at least one channel"):
        field_from_arrays({})
    with pytest.raises(ValueError, match="at least one channel"):
        open_field({})


def test_arrays_are_a_field():
    image = planes()
    field = field_from_arrays({"dapi": image[0], "cep8": image[1], "cd45": image[2]}, name="f1", um_per_px=0.3)
    assert field.channels == ("dapi", "cep8", "cd45")
    assert (field.name, field.size_wh, field.dtype, field.um_per_px) == ("f1", (WIDTH, HEIGHT), np.uint16, 0.3)
    assert field.paths == ()
    np.testing.assert_array_equal(field.read(), image)
    np.testing.assert_array_equal(field.read(["cd45", "dapi"], (5, 7, 20, 9)), image[[2, 0], 7:9, 5:20])
    np.testing.assert_array_equal(field.read("cep8"), image[1:2])
    assert repr(field) == f"Field('f1', dapi+cep8+cd45, {WIDTH} x {HEIGHT} px, uint16)"


def test_what_is_read_can_be_changed_without_harm():
    image = np.ones((4, 4), np.uint8)
    with field_from_arrays({"dapi": image}) as field:
        field.read()[:] = 9
        assert field.read().max() == image.max() == 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_every_region_is_what_slicing_gives(height, width, data):
    image = planes(np.uint8, 2, height, width)
    x0, x1 = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    field = field_from_arrays({"a": image[0], "b": image[1]})
    np.testing.assert_array_equal(field.read(region_xyxy=(x0, y0, x1, y1)), image[:, y0:y1, x0:x1])


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 5), (5, 0, 4, 5), (-1, 0, 4, 5), (0, 0, WIDTH + 1, 5), (0, 0.5, 4, 5), (0, 0, 4, HEIGHT + 1)]
)
def test_a_region_that_is_none_is_refused(region):
    field = field_from_arrays({"dapi": planes()[0]}, name="f1")
    with pytest.raises(ValueError, match=rf"inside field 'f1' of {WIDTH} x {HEIGHT} px"):
        field.read(region_xyxy=region)


def test_unknown_channels_and_closed_fields_are_refused():
    with (
        field_from_arrays({"dapi": planes()[0]}, name="f1") as field,
        pytest.raises(ValueError, match=r"'f1' has no channel \['cep8'\]; its channels are \['dapi'\]"),
    ):
        field.read(["dapi", "cep8"])
    with pytest.raises(ValueError, match="field 'f1' is closed"):
        field.read()


def test_arrays_of_different_size_are_refused_with_their_shapes():
    with pytest.raises(ImageReadError, match=r"dapi \(4, 5\) in .*, cep8 \(4, 6\) in"):
        field_from_arrays({"dapi": np.zeros((4, 5)), "cep8": np.zeros((4, 6))})


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.zeros((4, 5, 3), np.uint8), r"shape \(4, 5, 3\)"), (np.zeros((4, 5), np.int32), "int32 pixels")],
)
def test_arrays_that_are_no_channel_are_refused(array, message):
    with pytest.raises(ImageReadError, match=f"field 'f1', channel 'dapi'.*{message}"):
        field_from_arrays({"dapi": array}, name="f1")


def test_bool_and_double_arrays_get_a_supported_type():
    field = field_from_arrays({"mask": np.eye(3, dtype=bool)})
    assert field.dtype == np.uint8
    np.testing.assert_array_equal(field.read()[0], np.eye(3, dtype=np.uint8) * 255)
    assert field_from_arrays({"a": np.zeros((2, 2))}).read().dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_pixels_that_are_not_finite_are_counted_in_their_channel(bad):
    image = np.zeros((2, 6, 6))
    image[1, 2, 3:5] = bad
    field = field_from_arrays({"dapi": image[0], "cep8": image[1]}, name="f1")
    message = r"channel 'cep8': channel 'cep8' holds pixels that are not finite: 2 NaN or infinite .* shape \(6, 6\)"
    with pytest.raises(ImageReadError, match=message):
        field.read()
    assert field.read(region_xyxy=(0, 0, 6, 2)).max() == 0, "elsewhere the channel can be read"
    assert field.read(["dapi"]).shape == (1, 6, 6)


def test_nan_in_a_file_is_told_by_both_readers(tmp_path):
    image = planes(np.float32, 1)
    image[0, 3, 4] = np.nan
    write_ome_tiff(tmp_path / "f.ome.tif", image, ["DAPI"])
    with (
        open_field(tmp_path / "f.ome.tif") as field,
        pytest.raises(
            ImageReadError, match=rf"f\.ome\.tif: channel 'DAPI' holds .*: 1 NaN .*shape \({HEIGHT}, {WIDTH}\)"
        ),
    ):
        field.read()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_one_file_a_channel(tmp_path, dtype):
    image = planes(dtype)
    suffixes = (".tif",) * 3 if dtype == "float32" else (".png", ".tif", ".png")
    paths = {}
    for ours, plane, suffix in zip(("dapi", "cep8", "cd45"), image, suffixes, strict=True):
        paths[ours] = tmp_path / f"slide1_{ours.upper()}{suffix}"
        write_image(paths[ours], plane)
    with open_field(paths) as field:
        assert field.channels == ("dapi", "cep8", "cd45")
        assert field.name == "slide1"
        assert field.paths == tuple(paths.values())
        assert field.dtype == dtype
        assert field.um_per_px is None
        np.testing.assert_array_equal(field.read(), image)
        np.testing.assert_array_equal(field.read(["cd45"], (1, 2, 9, 8)), image[2:, 2:8, 1:9])


def test_files_of_different_depth_become_the_wider_one_unscaled(tmp_path):
    deep, flat = planes(np.uint16)[0], planes(np.uint8)[0]
    write_image(tmp_path / "a.tif", deep)
    write_image(tmp_path / "b.png", flat)
    with open_field({"a": tmp_path / "a.tif", "b": tmp_path / "b.png"}) as field:
        assert field.dtype == np.uint16
        np.testing.assert_array_equal(field.read(), np.stack([deep, flat.astype(np.uint16)]))


def test_files_of_different_size_are_refused_by_name(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    write_image(tmp_path / "b.tif", np.zeros((5, 5), np.uint8))
    with pytest.raises(ImageReadError, match=r"dapi \(4, 5\) in .*a\.png, cep8 \(5, 5\) in .*b\.tif"):
        open_field({"dapi": tmp_path / "a.png", "cep8": tmp_path / "b.tif"})


def test_a_colour_file_for_one_channel_is_read_as_its_brightest_colour(tmp_path):
    """A microscope's export draws CEP8 in orange: red carries the grey value, green a part of it."""
    grey = planes(np.uint8, 1)[0]
    orange = np.stack([grey, grey // 2, np.zeros_like(grey)], axis=-1)
    for name in ("cep8.png", "cep8.tif"):
        write_image(tmp_path / name, orange)
        with open_field({"cep8": tmp_path / name}) as field:
            np.testing.assert_array_equal(field.read(region_xyxy=(2, 3, 20, 30))[0], grey[3:30, 2:20])
            assert len(field.notes) == 1
            assert f"{name}: a colour file for one channel" in field.notes[0]


def test_a_file_of_several_channels_for_one_needs_to_be_told_which(tmp_path):
    image = planes()
    write_ome_tiff(tmp_path / "f.ome.tif", image, ["DAPI", "CEP8", "CD45"])
    source = {"dapi": tmp_path / "f.ome.tif"}
    with pytest.raises(ImageReadError, match=rf"holds 3 channels of shape \({HEIGHT}, {WIDTH}\): DAPI, CEP8, CD45"):
        open_field(source)
    with open_field(source, {"dapi": "DAPI"}) as field:
        np.testing.assert_array_equal(field.read(), image[:1])
    with pytest.raises(ValueError, match=r"channels \['cep8'\] have no file"):
        open_field(source, {"dapi": 0, "cep8": 1})


def test_a_channel_given_twice_is_refused(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(ImageReadError, match=r"a\.png: given twice, for channels 'dapi' and 'cep8'"):
        open_field({"dapi": tmp_path / "a.png", "cep8": tmp_path / "a.png"})
    write_ome_tiff(tmp_path / "f.ome.tif", planes(), ["DAPI", "CEP8", "CD45"])
    with pytest.raises(ImageReadError, match=r"f\.ome\.tif: channel 0 is given twice"):
        open_field(tmp_path / "f.ome.tif", "dapi=0,cep8=DAPI")


def test_pixel_sizes_of_the_files_have_to_agree(tmp_path):
    for name, side in (("a", 0.5), ("b", 0.502), ("c", 0.6)):
        write_ome_tiff(tmp_path / f"{name}.ome.tif", planes(channels=1), [name], side)
    with open_field({"a": tmp_path / "a.ome.tif", "b": tmp_path / "b.ome.tif"}) as field:
        assert field.um_per_px == 0.5
    source = {"a": tmp_path / "a.ome.tif", "c": tmp_path / "c.ome.tif"}
    with pytest.raises(ImageReadError, match=r"different pixel size: a 0\.5 um .*, c 0\.6 um .*; give um_per_px"):
        open_field(source)
    with open_field(source, um_per_px=0.55) as field:
        assert field.um_per_px == 0.55


@pytest.mark.parametrize("um_per_px", [0, -1, float("nan"), float("inf")])
def test_a_pixel_size_that_is_none_is_refused(um_per_px):
    with pytest.raises(ValueError, match="`um_per_px` must be a positive number"):
        field_from_arrays({"a": np.zeros((2, 2), np.uint8)}, um_per_px=um_per_px)


def test_colour_pictures_have_three_channels_upright(tmp_path):
    rgb = planes(np.uint8).transpose(1, 2, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    with open_field(tmp_path / "turned.png", "dapi=blue,cep8=0") as field:
        assert field.size_wh == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(field.read(), np.rot90(rgb, -1).transpose(2, 0, 1)[[2, 0]])
    Image.fromarray(rgb).save(tmp_path / "field.jpg", quality=95)
    with open_field(tmp_path / "field.jpg") as field:
        assert field.channels == ("red", "green", "blue")


def test_grey_pictures_have_one_channel(tmp_path):
    write_image(tmp_path / "f.png", planes(np.uint16)[0])
    with open_field(tmp_path / "f.png") as field:
        assert (field.channels, field.dtype, field.name) == (("0",), np.uint16, "f")


def test_files_that_are_no_image_are_refused_by_name(tmp_path):
    (tmp_path / "notes.tif").write_text("no image")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name, message in (("nowhere.tif", "no such image file"), ("notes.tif", "not an image"), ("empty.tif", "empty")):
        with pytest.raises(ImageReadError, match=rf"{name}: .*{message}"):
            open_field(tmp_path / name)
    with pytest.raises(ImageReadError, match="is a folder"):
        open_field(tmp_path)


def test_a_pattern_is_for_a_folder(tmp_path):
    with pytest.raises(ValueError, match="patterns are for a folder"):
        open_field(tmp_path / "a_DAPI.tif", "dapi=*_DAPI.tif")


def test_files_are_let_go_where_opening_fails(tmp_path, monkeypatch):
    opened = []
    original = tifffile.TiffFile.__init__

    def remember(self, *args, **kwargs):
        opened.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", remember)
    write_ome_tiff(tmp_path / "a.ome.tif", planes(), ["A", "B", "C"])
    write_image(tmp_path / "b.tif", np.zeros((2, 2), np.uint8))
    with pytest.raises(ImageReadError, match="different size"):
        open_field({"a": tmp_path / "a.ome.tif", "b": tmp_path / "b.tif"}, {"a": 0})
    with pytest.raises(ImageReadError, match="no channel"):
        open_field(tmp_path / "a.ome.tif", "dapi=DAPI")
    with open_field(tmp_path / "a.ome.tif"):
        pass
    assert len(opened) == 4
    assert all(file.filehandle.closed for file in opened)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_threads_may_read_at_once(tmp_path, compression):
    image = planes(np.uint16, 3, 256, 256)
    write_ome_tiff(tmp_path / "f.ome.tif", image, ["a", "b", "c"], compression=compression, tile_px=64)
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            x, y = rng.integers(0, 200, 2)
            region = (int(x), int(y), int(x) + 50, int(y) + 50)
            if not np.array_equal(field.read(region_xyxy=region), image[:, y : y + 50, x : x + 50]):
                wrong.append(region)

    with open_field(tmp_path / "f.ome.tif") as field:
        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "Permission denied"), "Permission denied"), (OSError(36, "File name too long"), "too long")],
)
def test_files_that_cannot_be_opened_are_named_by_every_reader(tmp_path, monkeypatch, error, reason):
    def refuse(self, *args, **kwargs):  # whoever runs tests as root may read everything
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    for read in (open_field, read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=rf"closed\.tif: cannot be read \(.*{reason}\); check its permissions"):
            read(tmp_path / "closed.tif")
