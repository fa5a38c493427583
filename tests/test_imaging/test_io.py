"""Image files: what is read is what was written, in RGB and at its own depth; everything else is refused by name."""

import io
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import image_size_wh, read_image, write_image, write_png


def sample(dtype, channels=0, height=13, width=21):
    rng = np.random.default_rng(0)
    shape = (height, width, channels) if channels else (height, width)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def test_empty_file_is_refused_by_both_readers(tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    for read in (read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=r"empty\.png: the file is empty"):
            read(path)


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        (".tif", "uint8"),
        (".tiff", "uint16"),
        (".tif", "float32"),
        (".bmp", "uint8"),
    ],
)
def test_lossless_formats_come_back_as_written(tmp_path, suffix, dtype, channels):
    image = sample(dtype, channels)
    path = tmp_path / "deep" / f"image{suffix}"
    write_image(path, image)
    first = path.read_bytes()
    write_image(path, image)
    assert path.read_bytes() == first, "same image, same bytes"
    back = read_image(path)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)
    assert image_size_wh(path) == (21, 13)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_channel_order_is_rgb(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 250
    for suffix in (".png", ".tif", ".jpg", ".bmp"):
        write_image(tmp_path / f"red{suffix}", red)
        mean = read_image(tmp_path / f"red{suffix}").mean(axis=(0, 1))
        assert mean[0] > 240, suffix
        assert mean[1:].max() < 10, suffix
        with Image.open(tmp_path / f"red{suffix}") as picture:
            assert picture.convert("RGB").getpixel((4, 4))[0] > 240, suffix


def test_jpeg_grey_and_colour_are_close_to_the_original(tmp_path):
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (16, 1))
    write_image(tmp_path / "grey.jpg", ramp)
    back = read_image(tmp_path / "grey.jpg")
    assert back.shape == ramp.shape
    assert np.abs(back.astype(int) - ramp).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_orientation_is_applied_as_labelme_does(tmp_path, suffix, orientation):
    stored = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    stored.save(path, exif=exif, quality=100) if suffix == ".jpg" else stored.save(path, exif=exif)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    back = read_image(path)
    np.testing.assert_array_equal(back, expected)
    assert image_size_wh(path) == back.shape[1::-1]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_holds_for_deep_png_and_tiff_too(tmp_path, orientation):
    image = sample(np.uint16, 3)
    tifffile.imwrite(
        tmp_path / "t.tif", image, photometric="rgb", metadata=None, extratags=[(0x0112, 3, 1, orientation, True)]
    )
    expected = {3: image[::-1, ::-1], 6: np.rot90(image, -1), 8: np.rot90(image)}[orientation]
    np.testing.assert_array_equal(read_image(tmp_path / "t.tif"), expected)
    assert image_size_wh(tmp_path / "t.tif") == expected.shape[1::-1]


def test_exif_behind_the_pixels_of_a_png_counts_too(tmp_path):
    """The PNG standard allows the eXIf chunk after the image data; 8 and 16 bits a colour take different decoders."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for dtype in (np.uint8, np.uint16):
        path = tmp_path / f"{dtype.__name__}.png"
        image = sample(dtype, 3)
        write_png(path, image)
        data = path.read_bytes()
        body = exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = len(body).to_bytes(4, "big") + b"eXIf" + body + zlib.crc32(b"eXIf" + body).to_bytes(4, "big")
        path.write_bytes(data[:-12] + chunk + data[-12:])
        np.testing.assert_array_equal(read_image(path), np.rot90(image, -1))
        assert image_size_wh(path) == (13, 21)


def test_alpha_is_dropped_and_grey_stays_grey(tmp_path):
    rgba = sample(np.uint8, 4)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), rgba[..., :3])
    Image.fromarray(rgba[..., :2].copy(), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), rgba[..., 0])
    deep = sample(np.uint16, 4)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), deep[..., 2::-1])
    tifffile.imwrite(tmp_path / "rgba.tif", deep, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.tif"), deep[..., :3])


def test_palettes_and_bilevel_become_plain_pixels(tmp_path):
    indices = np.arange(4, dtype=np.uint8).reshape(2, 2)
    colours = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    for suffix in (".png", ".tif"):
        picture = Image.fromarray(indices, "P")
        picture.putpalette(colours.tobytes())
        picture.save(tmp_path / f"palette{suffix}")
        np.testing.assert_array_equal(read_image(tmp_path / f"palette{suffix}"), colours[indices])
        Image.fromarray(indices > 1).save(tmp_path / f"bilevel{suffix}")
        np.testing.assert_array_equal(read_image(tmp_path / f"bilevel{suffix}"), np.uint8([[0, 0], [255, 255]]))


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
def test_compressed_tiff_with_separate_planes(tmp_path, compression):
    image = sample(np.uint16, 3)
    path = tmp_path / "planes.tif"
    tifffile.imwrite(
        path,
        np.moveaxis(image, -1, 0),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
        metadata=None,
    )
    np.testing.assert_array_equal(read_image(path), image)
    assert image_size_wh(path) == (21, 13)


def test_big_endian_min_is_white_and_double_tiff(tmp_path):
    image = sample(np.uint16)
    tifffile.imwrite(tmp_path / "big.tif", image, byteorder=">", bigtiff=True, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "big.tif"), image)
    tifffile.imwrite(tmp_path / "white.tif", image, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif"), 65535 - image)
    tifffile.imwrite(tmp_path / "double.tif", sample(np.float64), metadata=None)
    assert read_image(tmp_path / "double.tif").dtype == np.float32


def test_multi_page_tiff_and_animation_are_refused_with_their_shape(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", sample(np.uint8, 0)[None].repeat(4, 0), photometric="minisblack")
    tifffile.imwrite(tmp_path / "one.tif", np.zeros((4, 13, 21), np.uint8), photometric="minisblack", truncate=True)
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(sample(np.uint8), metadata=None)
        writer.write(sample(np.uint16, 0, 5, 7), metadata=None)
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (0, 90, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    for read in (read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=r"stack\.tif: multi-page TIFF of shape \(4, 13, 21\)"):
            read(tmp_path / "stack.tif")
        with pytest.raises(ImageReadError, match=r"one\.tif: multi-page TIFF of shape \(4, 13, 21\)"):
            read(tmp_path / "one.tif")
        with pytest.raises(ImageReadError, match=r"2 images of shapes \(13, 21\), \(5, 7\)"):
            read(tmp_path / "mixed.tif")
        with pytest.raises(ImageReadError, match="GIF of 3 frames"):
            read(tmp_path / "film.gif")


@pytest.mark.parametrize("kind", ["signed", "many", "cmyk"])
def test_unsupported_pixels_say_what_to_save_instead(tmp_path, kind):
    path = tmp_path / "odd.tif"
    if kind == "signed":
        tifffile.imwrite(path, np.ones((4, 4), np.int32), metadata=None)
    elif kind == "many":
        tifffile.imwrite(path, np.ones((4, 4, 7), np.uint8), photometric="minisblack", planarconfig="contig")
    else:
        path = tmp_path / "odd.jpg"
        Image.new("CMYK", (4, 4)).save(path)
    with pytest.raises(ImageReadError, match="odd.*(int32|7|CMYK)"):
        read_image(path)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".png", "uint8"), (".png", "uint16"), (".jpg", "uint8"), (".tif", "uint16")]
)
@pytest.mark.parametrize("channels", [0, 3])
def test_truncated_files_are_refused(tmp_path, suffix, dtype, channels):
    path = tmp_path / f"cut{suffix}"
    write_image(path, sample(dtype, channels, 64, 64))
    whole = path.read_bytes()
    for kept in (30, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:kept])
        with pytest.raises(ImageReadError, match=rf"cut\{suffix}"):
            read_image(path)


def test_damaged_16_bit_colour_png_is_refused(tmp_path):
    path = tmp_path / "flipped.png"
    write_png(path, sample(np.uint16, 3, 64, 64))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ImageReadError, match=r"flipped\.png: damaged"):
        read_image(path)


def test_missing_folder_and_foreign_files_are_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    for read in (read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=r"nowhere\.png: no such image file"):
            read(tmp_path / "nowhere.png")
        with pytest.raises(ImageReadError, match="is a folder"):
            read(tmp_path)
        with pytest.raises(ImageReadError, match=r"notes\.png"):
            read(tmp_path / "notes.png")


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("x.png", np.zeros((0, 4), np.uint8), r"received shape \(0, 4\)"),
        ("x.png", np.zeros((4, 4, 2), np.uint8), r"received shape \(4, 4, 2\)"),
        ("x.png", np.zeros((4, 4), np.float32), "uint8 or uint16 pixels, received float32"),
        ("x.jpg", np.zeros((4, 4), np.uint16), "holds uint8 pixels, received uint16"),
        ("x.webm", np.zeros((4, 4), np.uint8), "use one of .png"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, image, message):
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


def test_write_png_insists_on_its_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.png"):
        write_png(tmp_path / "x.tif", np.zeros((2, 2), np.uint8))


def test_size_is_read_without_decoding(tmp_path):
    path = tmp_path / "cut.png"
    buffer = io.BytesIO()
    Image.fromarray(sample(np.uint8, 0, 200, 300)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:-2000])
    assert image_size_wh(path) == (300, 200)


def test_pixels_that_are_not_finite_are_counted(tmp_path):
    image = sample(np.float32)
    image[2, 3:6] = [np.nan, np.inf, -np.inf]
    write_image(tmp_path / "f.tif", image)
    with pytest.raises(ImageReadError, match=r"f\.tif: holds pixels that are not finite: 3 NaN .* shape \(13, 21\)"):
        read_image(tmp_path / "f.tif")


def test_tiff_that_cannot_be_decompressed_or_trusted_is_refused_by_both_readers(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;">]><OME Name="&c;"></OME>'
    tifffile.imwrite(tmp_path / "bomb.tif", sample(np.uint8), description=bomb, metadata=None)
    tifffile.imwrite(tmp_path / "odd.tif", sample(np.uint8), compression="lzw", metadata=None)
    with tifffile.TiffFile(tmp_path / "odd.tif") as file:
        offset = file.pages[0].tags["Compression"].valueoffset
    data = bytearray((tmp_path / "odd.tif").read_bytes())
    data[offset : offset + 2] = (34999).to_bytes(2, "little")
    (tmp_path / "odd.tif").write_bytes(bytes(data))
    for read in (read_image, image_size_wh):
        with pytest.raises(ImageReadError, match=r"bomb\.tif: its XML declares entities"):
            read(tmp_path / "bomb.tif")
        with pytest.raises(ImageReadError, match=r"odd\.tif: compression 34999 is not supported"):
            read(tmp_path / "odd.tif")
