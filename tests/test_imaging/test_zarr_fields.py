"""Zarr folders as fields: plain arrays and OME-Zarr of formats 2 and 3, and what is wrong with others."""

import shutil

import numpy as np
import pytest
import zarr
from damaged_slides import noise

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.damage import DamageTolerantField
from ctc_mm.imaging.io import list_fields, open_field

IMAGE = noise(3, 90, 130)
UNITS = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}


def save(path, image, zarr_format=3, chunk=32, **options):
    chunks = tuple(min(chunk, side) for side in image.shape)
    array = zarr.create_array(
        str(path), shape=image.shape, chunks=chunks, dtype=image.dtype, zarr_format=zarr_format, **options
    )
    array[...] = image
    return path


def save_ome(path, image, axes="cyx", zarr_format=2, scale=None, units=UNITS, labels=("DAPI", "CEP8", "CD45"), **more):
    """An OME-Zarr of version 0.4 (format 2) or 0.5 (format 3) with two levels."""
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    for name, level in (("full", image), ("half", image[..., ::2, ::2])):
        save(path / name, level, zarr_format)
    scale = scale or [1.0] * (image.ndim - 2) + [0.25, 0.25]
    listed = [{"name": one, **({"unit": units[one]} if one in units else {})} for one in axes]
    levels = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": factor}]}
        for name, factor in (("full", scale), ("half", [2 * one for one in scale]))
    ]
    metadata = {"multiscales": [{"axes": listed, "datasets": levels, **more}]}
    if labels:
        metadata["omero"] = {"channels": [{"label": label} for label in labels]}
    group.attrs.update({"ome": {"version": "0.5", **metadata}} if zarr_format == 3 else metadata)
    return path


def read(path, **options):
    with open_field(path, **options) as field:
        return field, field.read()


def test_a_folder_without_metadata_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImageReadError, match=r"a.zarr: holds no zarr metadata \(zarr.json, .zarray, .zgroup\); copy"):
        open_field(tmp_path / "a.zarr")
    save(tmp_path / "b.zarr", IMAGE, 2)
    (tmp_path / "b.zarr" / ".zarray").unlink()
    with pytest.raises(ImageReadError, match="b.zarr: holds no zarr metadata"):
        open_field(tmp_path / "b.zarr")
    with pytest.raises(ImageReadError, match=r"is a folder without positions.csv \(a mosaic\) or zarr metadata"):
        open_field(tmp_path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_arrays(tmp_path, zarr_format):
    field, pixels = read(save(tmp_path / "a.zarr", IMAGE, zarr_format))
    assert (field.name, field.channels, field.size_wh, field.dtype) == ("a", ("0", "1", "2"), (130, 90), np.uint16)
    assert (field.um_per_px, field.notes, field.paths) == (None, (), (tmp_path / "a.zarr",))
    np.testing.assert_array_equal(pixels, IMAGE)
    field, pixels = read(save(tmp_path / "b", IMAGE[0].astype(np.float64), zarr_format), um_per_px=0.3)
    assert (field.name, field.channels, field.dtype, field.um_per_px) == ("b", ("0",), np.float32, 0.3)
    np.testing.assert_array_equal(pixels[0], IMAGE[0])


def test_regions_channels_and_one_pixel_columns(tmp_path):
    path = save(tmp_path / "a.zarr", IMAGE)
    with open_field(path, "cd45=2,dapi=0") as field:
        block = field.read(["cd45", "dapi"], (31, 40, 97, 41))
    np.testing.assert_array_equal(block, IMAGE[[2, 0], 40:41, 31:97])
    field, pixels = read(save(tmp_path / "thin.zarr", IMAGE[0, :, :1]))
    assert field.size_wh == (1, 90)
    np.testing.assert_array_equal(pixels, IMAGE[:1, :, :1])


def test_colours_side_by_side(tmp_path):
    colours = np.moveaxis((IMAGE >> 8).astype(np.uint8), 0, -1)
    field, pixels = read(save(tmp_path / "a.zarr", colours))
    assert field.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(pixels, np.moveaxis(colours, -1, 0))
    opacity = np.full((*colours.shape[:2], 1), 255, np.uint8)
    field, pixels = read(save(tmp_path / "b.zarr", np.concatenate([colours, opacity], axis=2)))
    assert pixels.shape == (3, 90, 130)
    named = save(tmp_path / "c.zarr", colours.transpose(1, 0, 2), dimension_names=["x", "y", "samples"])
    field, pixels = read(named)
    assert (field.channels, field.size_wh) == (("red", "green", "blue"), (130, 90))
    np.testing.assert_array_equal(pixels, np.moveaxis(colours, -1, 0))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_names_its_channels_and_pixel_size(tmp_path, zarr_format):
    five = IMAGE[None, :, None]
    field, pixels = read(save_ome(tmp_path / "s.ome.zarr", five, "tczyx", zarr_format))
    assert (field.name, field.channels, field.um_per_px) == ("s", ("DAPI", "CEP8", "CD45"), 0.25)
    np.testing.assert_array_equal(pixels, IMAGE)
    nm = {"y": "nanometer", "x": "nanometer"}
    whole = [{"type": "scale", "scale": [1, 2, 2]}]
    path = save_ome(
        tmp_path / "n.zarr", IMAGE, "cyx", zarr_format, [1, 325, 325], nm, (), coordinateTransformations=whole
    )
    field, _ = read(path)
    assert (field.channels, field.um_per_px) == (("0", "1", "2"), 0.65)


def test_a_scale_without_a_unit_says_nothing(tmp_path):
    assert read(save_ome(tmp_path / "a.zarr", IMAGE, units={}))[0].um_per_px is None
    assert read(save_ome(tmp_path / "b.zarr", IMAGE, units={"y": "second", "x": "second"}))[0].um_per_px is None
    with pytest.raises(ImageReadError, match=r"b.zarr: pixels are not square \(0.25 x 0.5 um\)"):
        read(save_ome(tmp_path / "b.zarr", IMAGE, scale=[1, 0.5, 0.25]))


@pytest.mark.parametrize("labels", [("R", "G", "B"), ("Red", "Green", "Blue")])
def test_colours_by_name(tmp_path, labels):
    assert read(save_ome(tmp_path / "a.zarr", IMAGE, labels=labels))[0].channels == ("red", "green", "blue")


def test_a_scanner_s_first_image_is_read(tmp_path):
    root = tmp_path / "slide.zarr"
    group = zarr.open_group(str(root), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    save_ome(root / "0", IMAGE)
    save_ome(root / "1", IMAGE[:, :5, :5])
    field, pixels = read(root)
    assert field.notes == (f"{root}: the first of 2 images is read",)
    np.testing.assert_array_equal(pixels, IMAGE)


def test_stacks(tmp_path):
    path = save_ome(tmp_path / "z.zarr", IMAGE, "zyx", labels=("DAPI",), scale=[1, 0.25, 0.25])
    with pytest.raises(ImageReadError, match=r"z.zarr: z-stack of 3, shape \(3, 90, 130\) \(axes zyx\); export one"):
        open_field(path)
    field, pixels = read(path, z_projection="max")
    assert field.channels == ("DAPI",)
    np.testing.assert_array_equal(pixels[0], IMAGE.max(axis=0))
    with pytest.raises(ImageReadError, match=r"time series of 3, shape .* \(axes tyx\); export each image by itself"):
        open_field(save_ome(tmp_path / "t.zarr", IMAGE, "tyx", labels=()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: save(path, IMAGE.astype(np.int16)), r"int16 pixels are not supported; save it as uint8"),
        (lambda path: save(path, IMAGE[None]), r"shape \(1, 3, 90, 130\) that does not name its axes; save it as"),
        (lambda path: save(path, IMAGE[0, 0]), r"shape \(130,\) that does not name its axes"),
        (lambda path: save(path, IMAGE[:, :0]), r"the image has no pixels, shape \(3, 0, 130\)"),
        (
            lambda path: zarr.open_group(str(path), mode="w").create_group("deep"),
            "without image metadata .*holding deep",
        ),
        (lambda path: zarr.open_group(str(path), mode="w").attrs.update({"plate": {}}), "is a plate of images; give"),
        (lambda path: save_ome(path, IMAGE, "czyx"), r"axes \['c', 'z', 'y', 'x'\] do not fit an array of shape"),
        (lambda path: shutil.rmtree(save_ome(path, IMAGE) / "full"), "damaged zarr metadata"),
        (lambda path: (save(path, IMAGE) / "zarr.json").write_text('{"zarr_format'), "damaged zarr metadata"),
        (lambda path: (save(path, IMAGE) / "zarr.json").write_text('{"zarr_format": 3}'), "a.zarr: "),
        (lambda path: save_ome(path, IMAGE, datasets=[]), "damaged zarr metadata"),
    ],
    ids=["int16", "4-D", "1-D", "empty", "group", "plate", "axes", "no level", "cut", "no node", "no levels"],
)
def test_what_is_no_image_is_refused(tmp_path, make, message):
    make(tmp_path / "a.zarr")
    with pytest.raises(ImageReadError, match=message):
        open_field(tmp_path / "a.zarr")


def test_chunks_that_are_left_out_are_told(tmp_path):
    path = save(tmp_path / "a.zarr", np.zeros((64, 64), np.uint16), fill_value=3, config={"write_empty_chunks": True})
    (path / "c" / "0" / "1").unlink()
    field, pixels = read(path)
    assert field.notes == (f"{path}: 1 of 4 chunks are left out, read as 3",)
    assert (pixels[0] == 3).sum() == 32 * 32


def test_a_corrupt_chunk_is_an_error_or_a_lost_block(tmp_path):
    path = save(tmp_path / "a.zarr", noise(1, 300, 600)[0], chunk=100)
    chunk = path / "c" / "1" / "4"
    chunk.write_bytes(b"\xff" * 50)
    message = r"a.zarr: channel 0 of shape \(300, 600\) cannot be decoded in the region \(0, 0, 600, 300\)"
    with pytest.raises(ImageReadError, match=message):
        read(path)
    with DamageTolerantField(open_field(path)) as field:
        pixels = field.read()[0]
        assert field.damaged_xyxy == ((256, 0, 512, 256),)
    assert (pixels == 0).sum() == 256 * 256


def test_a_zarr_folder_is_listed_as_one_field(tmp_path):
    save_ome(tmp_path / "day1" / "s.ome.zarr", IMAGE)
    save(tmp_path / "plain.zarr", IMAGE)
    sources = list_fields(tmp_path)
    assert [(one.name, one.relative_path) for one in sources] == [
        ("day1/s", "day1/s.ome.zarr"),
        ("plain", "plain.zarr"),
    ]
    (alone,) = list_fields(tmp_path / "plain.zarr", "dapi=1")
    assert (alone.name, alone.relative_path) == ("plain", "plain.zarr")
    with alone.open() as field:
        np.testing.assert_array_equal(field.read()[0], IMAGE[1])


def test_a_zarr_folder_for_each_channel(tmp_path):
    for name, plane in zip(("DAPI", "CEP8"), IMAGE, strict=False):
        save(tmp_path / f"s_{name}.zarr", plane)
    (source,) = list_fields(tmp_path, "dapi=*_DAPI.zarr,cep8=*_CEP8.zarr")
    with source.open(0.5) as field:
        assert (field.name, field.channels, field.um_per_px) == ("s", ("dapi", "cep8"), 0.5)
        np.testing.assert_array_equal(field.read(), IMAGE[:2])
