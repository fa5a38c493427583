"""Damaged and hostile TIFF files end in one error that names the file; nothing comes back as zeros."""

import random
import struct

import numpy as np
import pytest
import tifffile
from lsm_files import write_lsm

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import image_size_wh, open_field, read_image, write_ome_tiff

IMAGE = np.random.default_rng(0).integers(0, 60000, (3, 40, 52), dtype=np.uint16)
NAMES = ("DAPI", "CEP8", "CD45")


def write_pages(path):
    with tifffile.TiffWriter(path, byteorder=">") as writer:
        for plane in IMAGE:
            writer.write(plane, contiguous=False, metadata=None, rowsperstrip=7)


def write_jpeg(path):
    eight_bit = (IMAGE >> 8).astype(np.uint8).transpose(1, 2, 0)
    tifffile.imwrite(path, eight_bit, photometric="rgb", compression="jpeg", tile=(16, 16))


WRITERS = {
    "plain": lambda path: write_ome_tiff(path, IMAGE, NAMES),
    "lzw": lambda path: write_ome_tiff(path, IMAGE, NAMES, compression="lzw"),
    "deflate": lambda path: write_ome_tiff(path, IMAGE, NAMES, compression="deflate", tile_px=16, bigtiff=True),
    "jpeg": write_jpeg,
    "imagej": lambda path: tifffile.imwrite(path, IMAGE, imagej=True, metadata={"axes": "CYX"}),
    "planar": lambda path: tifffile.imwrite(path, IMAGE, photometric="minisblack", planarconfig="separate"),
    "pages": write_pages,
    "lsm": lambda path: write_lsm(path, IMAGE, NAMES, 0.2, compression="lzw"),
}


def read(path):
    with open_field(path) as field:
        return field.read()


def read_or_refuse(path):
    """The image and no message, or none and the message."""
    try:
        return read(path), ""
    except ImageReadError as error:
        return None, str(error)


@pytest.fixture(params=WRITERS)
def path(request, tmp_path):
    file = tmp_path / "slide.tif"
    WRITERS[request.param](file)
    return file


def test_a_truncated_file_is_refused_or_read_whole(path):
    truth, data = read(path), path.read_bytes()
    refused = 0
    for kept in sorted({len(data) * part // 32 for part in range(32)}):
        path.write_bytes(data[:kept])
        image, message = read_or_refuse(path)
        if image is None:
            assert "slide.tif" in message
            refused += 1
        else:  # what was cut lies behind the pixels
            np.testing.assert_array_equal(image, truth)
    assert refused >= 28


def test_flipped_bytes_give_pixels_or_an_error_that_names_the_file(path):
    data, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(8, min(len(data), 1500))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        image, message = read_or_refuse(path)
        if image is None:
            assert "slide.tif" in message
            refused += 1
        else:
            assert image.dtype.name in ("uint8", "uint16", "float32")
    assert refused > 0


def change_tag(path, code, value, page=0):
    """Overwrite the value of a short tag in its place."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[page].tags[code]
        offset, order = tag.valueoffset, file.byteorder
    data = bytearray(path.read_bytes())
    struct.pack_into(f"{order}H", data, offset, value)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("code", "name"), [(34999, "34999"), (34676, "SGILOG")])
def test_a_compression_that_cannot_be_decoded_is_named(tmp_path, code, name):
    path = tmp_path / "slide.tif"
    write_ome_tiff(path, IMAGE, NAMES, compression="lzw")
    for page in range(3):
        change_tag(path, 259, code, page)
    with pytest.raises(ImageReadError, match=rf"slide\.tif: compression {name} is not supported"):
        read(path)


def test_a_colour_model_that_is_no_grey_is_named(tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.zeros((8, 9, 4), np.uint8), photometric="separated", metadata=None)
    with pytest.raises(ImageReadError, match=r"slide\.tif: colour model SEPARATED is not supported"):
        open_field(path)


def set_in_tag(path, code, index, value):
    """Overwrite one number of a tag that holds several."""
    with tifffile.TiffFile(path) as file:
        tag, order = file.pages[0].tags[code], file.byteorder
    kind = {3: "H", 4: "I"}[tag.dtype]
    data = bytearray(path.read_bytes())
    struct.pack_into(order + kind, data, tag.valueoffset + index * struct.calcsize(kind), value)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("tag", [273, 279], ids=["offset", "length"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_strips_that_were_never_written_are_no_black_pixels(tmp_path, tag, compression):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, IMAGE[0], metadata=None, rowsperstrip=7, compression=compression)
    set_in_tag(path, tag, 2, 0)
    for read_any in (read, read_image):
        with pytest.raises(
            ImageReadError, match=r"slide\.tif: truncated: plane 0 of shape \(40, 52\) has 5 of 6 strips"
        ):
            read_any(path)


def test_strips_shorter_than_their_pixels_are_refused(tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, IMAGE[0], metadata=None, rowsperstrip=7)
    set_in_tag(path, 279, 2, 7 * 52 * 2 - 1)
    for read_any in (read, read_image):
        with pytest.raises(
            ImageReadError, match=r"slide\.tif: truncated: plane 0 of shape \(40, 52\) has too few bytes"
        ):
            read_any(path)


def test_tiles_left_out_on_purpose_are_0_and_noted(tmp_path):
    path, image = tmp_path / "slide.tif", IMAGE[0].copy()
    tifffile.imwrite(path, image, metadata=None, tile=(16, 16), compression="lzw")
    set_in_tag(path, 324, 1, 0)
    with pytest.raises(ImageReadError, match=r"slide\.tif: truncated.*has 11 of 12 strips or tiles"):
        read(path)
    set_in_tag(path, 325, 1, 0)
    image[:16, 16:32] = 0
    np.testing.assert_array_equal(read_image(path), image)
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read()[0], image)
        assert field.notes == (f"{path}: 1 tiles are left out in the file, read as 0",)


def test_a_size_beyond_the_file_is_no_memory_error(tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, IMAGE[0], metadata=None)
    for side in (256, 257):
        change_tag(path, side, 65535)
    for read_any in (read, read_image):
        with pytest.raises(ImageReadError, match=r"slide\.tif: truncated: plane 0 of shape \(65535, 65535\)"):
            read_any(path)


def test_the_end_of_a_jpeg_strip_is_not_made_up(tmp_path):
    path = tmp_path / "slide.tif"
    image = (IMAGE[:, :, :48] >> 8).astype(np.uint8).transpose(1, 2, 0)
    tifffile.imwrite(path, image, photometric="ycbcr", compression="jpeg", rowsperstrip=16, metadata=None)
    path.write_bytes(path.read_bytes()[:-40])
    for read_any in (read, read_image):
        with pytest.raises(ImageReadError, match=r"slide\.tif: truncated: plane 0 of shape \(40, 48, 3\) ends at byte"):
            read_any(path)


def test_a_damaged_strip_is_told_with_its_channel_and_region(tmp_path):
    path = tmp_path / "slide.tif"
    write_ome_tiff(path, IMAGE, NAMES, compression="deflate")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read(["DAPI", "CD45"]), IMAGE[[0, 2]])
        with pytest.raises(ImageReadError, match=r"slide\.tif: channel CEP8 of shape \(40, 52\) cannot be decoded in"):
            field.read(["CEP8"], (0, 0, 5, 5))


def ome_of(description, tmp_path, name="slide.ome.tif"):
    path = tmp_path / name
    with tifffile.TiffWriter(path) as writer:
        for index, plane in enumerate(IMAGE):
            writer.write(plane, description=description if index == 0 else None, metadata=None)
    return path


OME = (
    '{prolog}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'DimensionOrder="XYCZT" Type="uint16" SizeX="52" SizeY="40" SizeC="3" SizeZ="1" SizeT="1">'
    '<Channel ID="Channel:0:0" Name="{name}"/>{data}</Pixels></Image></OME>'
)


@pytest.mark.parametrize(
    ("prolog", "name"),
    [
        ('<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;&b;">]>', "&c;"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>', "&b;"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd">', "x"),
    ],
    ids=["bomb", "file", "remote"],
)
def test_xml_that_declares_entities_is_refused(tmp_path, prolog, name):
    path = ome_of(OME.format(prolog=prolog, name=name, data=""), tmp_path)
    with pytest.raises(ImageReadError, match=r"slide\.ome\.tif: its XML declares entities"):
        open_field(path)


@pytest.mark.parametrize("other", ["../other.ome.tif", "/tmp/other.ome.tif", "C:\\other.ome.tif"])
def test_an_ome_tiff_that_refers_to_other_folders_is_refused(tmp_path, other):
    data = f'<TiffData IFD="0"><UUID FileName="{other}">urn:uuid:1</UUID></TiffData>'
    path = ome_of(OME.format(prolog="", name="x", data=data), tmp_path)
    with pytest.raises(ImageReadError, match=r"slide\.ome\.tif: its OME-XML refers to .* in another folder"):
        open_field(path)


def multi_file_ome(tmp_path, compression=None):
    data = "".join(
        f'<TiffData IFD="0" FirstC="{index}" PlaneCount="1">'
        f'<UUID FileName="{name}.ome.tif">urn:uuid:{index}</UUID></TiffData>'
        for index, name in enumerate(NAMES)
    )
    for index, name in enumerate(NAMES):
        xml = OME.format(prolog="", name="DAPI", data=data).replace("<OME ", f'<OME UUID="urn:uuid:{index}" ')
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif", IMAGE[index], description=xml, metadata=None, compression=compression
        )
    return tmp_path / "DAPI.ome.tif"


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_channels_in_several_files_of_an_ome_set_are_read(tmp_path, compression):
    path = multi_file_ome(tmp_path, compression)
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read(), IMAGE)
        np.testing.assert_array_equal(field.read(["2"], (3, 4, 20, 30)), IMAGE[2:, 4:30, 3:20])
        assert sorted(file.name for file in field.paths) == ["CD45.ome.tif", "CEP8.ome.tif", "DAPI.ome.tif"]
        assert field.paths[0] == path


@pytest.mark.parametrize("side", [256, 257])
def test_an_image_of_size_0_is_refused(tmp_path, side):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, IMAGE[0], metadata=None)
    change_tag(path, side, 0)
    shape = {256: r"\(40, 0\)", 257: r"\(0, 52\)"}[side]
    for read_any in (open_field, read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=rf"slide\.tif: the image has no pixels \(shape {shape}\)"):
            read_any(path)


def test_a_lost_file_of_an_ome_set_is_no_black_channel(tmp_path):
    path = multi_file_ome(tmp_path)
    (tmp_path / "CEP8.ome.tif").unlink()
    with pytest.raises(ImageReadError, match=r"DAPI\.ome\.tif: plane 1 of shape \(40, 52\) is in another file"):
        open_field(path)


def test_damaged_ome_xml_leaves_pages_as_channels_and_a_note(tmp_path):
    xml = OME.format(prolog="", name="x", data="").replace("<Channel", "<Channel <")
    with open_field(ome_of(xml, tmp_path)) as field:
        np.testing.assert_array_equal(field.read(), IMAGE)
        assert len(field.notes) == 1
        assert "OME-XML is damaged" in field.notes[0]
