"""TIFF of every kind as a field: where channels lie, what they are called, how large a pixel is, what is refused."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from lsm_files import write_lsm
from PIL import Image

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import list_fields, open_field, write_ome_tiff

HEIGHT, WIDTH = 70, 90
REGION = (11, 5, 83, 64)
NAMES = ("DAPI", "SpectrumOrange", "CD45 µ")


def planes(dtype="uint16", channels=3, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=(channels, height, width)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (channels, height, width), dtype=dtype, endpoint=True)


def assert_reads(path, image, channels=None, **options):
    """The whole and a region, all channels and some of them in another order."""
    x0, y0, x1, y1 = REGION
    with open_field(path, **options) as field:
        assert field.dtype == image.dtype
        assert field.size_wh == image.shape[:0:-1]
        np.testing.assert_array_equal(field.read(), image)
        some = [len(image) - 1, 0] if len(image) > 1 else [0]
        names = [field.channels[index] for index in some]
        np.testing.assert_array_equal(field.read(names, REGION), image[some, y0:y1, x0:x1])
        np.testing.assert_array_equal(field.read(names, (0, y0, x0, y1)), image[some, y0:y1, :x0])
        if channels is not None:
            assert field.channels == channels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("tile_px", [None, 32])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_ome_tiff_comes_back_with_names_and_pixel_size(tmp_path, dtype, compression, tile_px, bigtiff):
    image, path = planes(dtype), tmp_path / "deep" / "slide 1.ome.tif"
    options = {"compression": compression, "tile_px": tile_px, "bigtiff": bigtiff}
    write_ome_tiff(path, image, NAMES, 0.325, **options)
    first = path.read_bytes()
    write_ome_tiff(path, image, NAMES, 0.325, **options)
    assert path.read_bytes() == first, "same field, same bytes"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert_reads(path, image, NAMES)
    with open_field(path, "cd45=2,cep8=spectrumorange") as field:
        assert (field.name, field.um_per_px, field.paths) == ("slide 1", 0.325, (path,))
        np.testing.assert_array_equal(field.read(), image[[2, 1]])
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == bigtiff
        assert file.is_ome
        assert file.series[0].axes == "CYX"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_cyx": np.zeros((0, 4, 4), np.uint8)}, r"shape \(0, 4, 4\)"),
        ({"image_cyx": np.zeros((4, 4), np.uint8)}, r"shape \(4, 4\)"),
        ({"image_cyx": np.zeros((1, 4, 4))}, "float64"),
        ({"channel_names": ["a", "b"]}, "1 channels need as many distinct names"),
        ({"um_per_px": 0.0}, "um_per_px must be a positive number"),
        ({"tile_px": 20}, "multiple of 16"),
        ({"compression": "jpeg"}, "compression must be"),
    ],
)
def test_what_ome_tiff_cannot_hold_is_refused(tmp_path, change, message):
    arguments = {"image_cyx": np.zeros((1, 4, 4), np.uint8), "channel_names": ["a"], **change}
    with pytest.raises(ValueError, match=message):
        write_ome_tiff(tmp_path / "f.ome.tif", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("unit", "size", "um"),
    [("µm", 0.5, 0.5), (None, 0.5, 0.5), ("nm", 250, 0.25), ("mm", 0.002, 2), ("Å", 6000, 0.6), ("in", 1e-5, 0.254)],
)
def test_ome_pixel_sizes_become_micrometres(tmp_path, unit, size, um):
    metadata = {"axes": "CYX", "PhysicalSizeX": size, "PhysicalSizeY": size, "Channel": {"Name": list(NAMES)}}
    if unit:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "f.ome.tif", planes(), metadata=metadata, photometric="minisblack")
    with open_field(tmp_path / "f.ome.tif") as field:
        assert field.um_per_px == pytest.approx(um)
        assert field.channels == NAMES


def test_ome_pixel_sizes_that_say_nothing_are_unknown_and_oblong_ones_refused(tmp_path):
    path = tmp_path / "f.ome.tif"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "pixel", "PhysicalSizeYUnit": "pixel"}
    tifffile.imwrite(path, planes(), metadata={"axes": "CYX", **sizes}, photometric="minisblack")
    with open_field(path) as field:
        assert field.um_per_px is None
        assert field.channels == ("0", "1", "2")
    oblong = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.6}
    tifffile.imwrite(path, planes(), metadata={"axes": "CYX", **oblong}, photometric="minisblack")
    with pytest.raises(ImageReadError, match=r"f\.ome\.tif: pixels are not square \(0\.5 x 0\.6 um\).*give um_per_px"):
        open_field(path)
    with open_field(path, um_per_px=0.55) as field:
        assert field.um_per_px == 0.55


@pytest.mark.parametrize(("unit", "listed"), [("mm", "500 x 500 um"), ("pm", "5e-07 x 5e-07 um")])
def test_a_pixel_size_in_a_wrong_unit_is_refused_unless_given(tmp_path, unit, listed):
    path, metadata = tmp_path / "f.ome.tif", {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, planes()[0], metadata={**metadata, **units})
    with pytest.raises(ImageReadError, match=rf"f\.ome\.tif: says that a pixel is {listed}.*give um_per_px"):
        open_field(path)
    with open_field(path, um_per_px=0.5) as field:
        assert field.um_per_px == 0.5


def test_grey_values_shown_in_a_colour_are_read_as_they_are_and_noted(tmp_path):
    image, path = planes("uint8"), tmp_path / "blue.tif"
    blue = np.zeros((3, 256), np.uint16)
    blue[2] = np.minimum(np.arange(256) * 300, 65535)  # saturated above, as many tables are
    tifffile.imwrite(path, image[0], photometric="palette", colormap=blue)
    with open_field({"dapi": path}) as field:
        np.testing.assert_array_equal(field.read()[0], image[0])
        assert [note.removeprefix(f"{path}: ") for note in field.notes] == [
            "shown in the colours of a look-up table; its grey values are read"
        ]
    tifffile.imwrite(path, image[0], photometric="palette", colormap=blue[:, ::-1])
    with pytest.raises(ImageReadError, match=r"blue\.tif: colour model PALETTE is not supported; save it as grey"):
        open_field(path)


def test_pyramids_are_read_at_level_0(tmp_path):
    image, path = planes("uint8"), tmp_path / "f.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "minisblack", "tile": (32, 32), "compression": "deflate"}
        writer.write(image, subifds=1, metadata={"axes": "CYX", "Channel": {"Name": list(NAMES)}}, **options)
        writer.write(image[:, ::2, ::2], subfiletype=1, **options)
    assert_reads(path, image, NAMES)


def test_imagej_channels_have_labels_and_a_scale(tmp_path):
    image, path = planes(), tmp_path / "f.tif"
    metadata = {"axes": "CYX", "unit": "micron", "Labels": ["DAPI", "CEP8", "CD45"]}
    tifffile.imwrite(path, image, imagej=True, resolution=(4, 4), metadata=metadata)
    assert_reads(path, image, ("DAPI", "CEP8", "CD45"))
    with open_field(path) as field:
        assert field.um_per_px == 0.25
    tifffile.imwrite(path, image, imagej=True, resolution=(4, 4), metadata={"axes": "CYX", "unit": "pixel"})
    with open_field(path) as field:
        assert field.um_per_px is None


@pytest.mark.parametrize(
    ("resolution", "unit", "um"),
    [
        ((20000, 20000), "CENTIMETER", 0.5),
        ((50800, 50800), "INCH", 0.5),
        ((72, 72), "INCH", None),
        ((1, 1), None, None),
    ],
    ids=["microscope", "microscope in inches", "printing", "none"],
)
def test_resolution_tags_count_where_they_are_no_printers(tmp_path, resolution, unit, um):
    tifffile.imwrite(tmp_path / "f.tif", planes()[0], resolution=resolution, resolutionunit=unit, metadata=None)
    with open_field(tmp_path / "f.tif") as field:
        assert field.um_per_px == um


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_zeiss_lsm(tmp_path, dtype, channels, compression):
    names = ("DAPI", "Ch2-T1", "Cy5", "ChD")[:channels]
    image, path = planes(dtype, channels), tmp_path / "f.lsm"
    write_lsm(path, image, names, 0.2, compression=compression)
    assert_reads(path, image, names)
    with open_field(path) as field:
        assert field.um_per_px == 0.2


@pytest.mark.parametrize("layout", ["pages", "pages with tags between", "strips", "big endian", "planar", "one strip"])
def test_pages_and_planes_are_channels(tmp_path, layout):
    image, path = planes(), tmp_path / "f.tif"
    if layout in ("pages", "planar"):
        planar = {"planarconfig": "separate"} if layout == "planar" else {}
        tifffile.imwrite(path, image, photometric="minisblack", metadata=None, **planar)
    else:
        rows = {"strips": 7, "one strip": HEIGHT}.get(layout)
        with tifffile.TiffWriter(path, byteorder=">" if layout == "big endian" else "<") as writer:
            for plane in image:
                writer.write(plane, contiguous=False, metadata=None, rowsperstrip=rows)
    assert_reads(path, image, ("0", "1", "2"))
    with open_field(path, "dapi=2") as field:
        np.testing.assert_array_equal(field.read(), image[2:])


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_colours_are_channels_and_opacity_is_none(tmp_path, planar, compression):
    image, path = planes("uint8", 4), tmp_path / "f.tif"
    for count, extra in ((3, ()), (4, ("unassalpha",)), (4, ("unspecified",))):
        stored = image[:count] if planar else image[:count].transpose(1, 2, 0)
        config = "separate" if planar else "contig"
        options = {"planarconfig": config, "extrasamples": extra, "compression": compression, "metadata": None}
        tifffile.imwrite(path, stored, photometric="rgb", **options)
        kept = 4 if extra == ("unspecified",) else 3
        assert_reads(path, image[:kept], ("red", "green", "blue", "3")[:kept])


def test_jpeg_compression_is_close_to_the_original(tmp_path):
    ramp = np.linspace(0, 250, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    image, path = np.stack([ramp, ramp[::-1], ramp[:, ::-1]]), tmp_path / "f.tif"
    options = {"compression": "jpeg", "compressionargs": {"level": 98}, "tile": (32, 32), "metadata": None}
    tifffile.imwrite(path, image.transpose(1, 2, 0), photometric="rgb", **options)
    with open_field(path) as field:
        assert np.abs(field.read(None, REGION).astype(int) - image[:, 5:64, 11:83]).max() < 12
    Image.fromarray(ramp).save(path, compression="jpeg", quality=98)
    with open_field(path) as field:
        assert np.abs(field.read(None, REGION).astype(int) - image[:1, 5:64, 11:83]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_holds_for_regions(tmp_path, orientation):
    image, path = planes("uint8", 1, 7, 5)[0], tmp_path / "f.tif"
    tifffile.imwrite(path, image, metadata=None, extratags=[(0x0112, 3, 1, orientation, True)])
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}
    upright = np.rot90(image, turns[orientation])
    upright = upright[:, ::-1] if orientation in (2, 4, 5, 7) else upright
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read()[0], upright)
        np.testing.assert_array_equal(field.read(None, (1, 2, 4, 5))[0], upright[2:5, 1:4])


def test_white_is_zero_and_bilevel_are_turned_to_grey(tmp_path):
    image, path = planes(channels=1)[0], tmp_path / "f.tif"
    tifffile.imwrite(path, image, photometric="miniswhite", metadata=None)
    assert_reads(path, 65535 - image[None])
    tifffile.imwrite(path, image > 30000, photometric="minisblack", metadata=None)
    assert_reads(path, ((image > 30000) * np.uint8(255))[None])
    tifffile.imwrite(path, planes("float64", 1)[0], metadata=None)
    assert_reads(path, planes("float64", 1).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "axes", "shape", "message"),
    [
        ("ome", "ZYX", (4, 6, 5), r"z-stack of 4, shape \(4, 6, 5\) \(axes ZYX\); export one plane, or a maximum"),
        ("imagej", "ZYX", (4, 6, 5), r"z-stack of 4, shape \(4, 6, 5\) \(axes ZYX\); export one plane, or a maximum"),
        ("ome", "TYX", (4, 6, 5), r"time series of 4, shape \(4, 6, 5\) \(axes TYX\); export each image"),
        ("imagej", "TCYX", (2, 3, 6, 5), r"time series of 2, shape \(2, 3, 6, 5\)"),
        ("ome", "ZCYX", (2, 3, 6, 5), r"z-stack of 2, shape \(2, 3, 6, 5\)"),
        ("ome", "TZCYX", (2, 2, 3, 6, 5), r"time series of 2, shape \(2, 2, 3, 6, 5\)"),
        ("lsm", "ZCYX", (2, 3, 6, 5), r"z-stack of 2, shape \(2, 3, 6, 5\)"),
        ("lsm", "TCYX", (2, 3, 6, 5), r"time series of 2, shape \(2, 3, 6, 5\)"),
    ],
)
def test_stacks_and_series_are_refused_with_their_shape(tmp_path, kind, axes, shape, message):
    path = tmp_path / "f.tif"
    if kind == "lsm":
        write_lsm(path, np.zeros(shape[1:], np.uint8), ("a", "b", "c"), 0.2, axes=axes, stack=shape[0])
    else:
        options = {"imagej": True} if kind == "imagej" else {"ome": True, "photometric": "minisblack"}
        tifffile.imwrite(path, np.zeros(shape, np.uint8), metadata={"axes": axes}, **options)
    with pytest.raises(ImageReadError, match=rf"f\.tif: .*{message}"):
        open_field(path)


@pytest.mark.parametrize("kind", ["ome", "imagej", "lsm", "packed"])
def test_a_z_stack_is_projected_where_asked(tmp_path, kind):
    stack, path = planes("uint8", 6).reshape(2, 3, HEIGHT, WIDTH), tmp_path / "f.tif"
    if kind == "lsm":
        write_lsm(path, stack[0], NAMES[:2] + ("x",), 0.2, stack=2)
        stack = stack[:1]
    else:
        options = {"imagej": True} if kind == "imagej" else {"ome": True, "photometric": "minisblack"}
        packed = {"compression": "lzw", "rowsperstrip": 8} if kind == "packed" else {}
        tifffile.imwrite(path, stack, metadata={"axes": "ZCYX"}, **options, **packed)
    assert_reads(path, stack.max(axis=0), z_projection="max")
    with pytest.raises(ValueError, match="`z_projection` must be None or 'max'"):
        open_field(path, z_projection="mean")


def test_the_brightest_plane_is_found_among_inverted_ones(tmp_path):
    stack, path = planes("uint8", 4), tmp_path / "f.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"}, photometric="miniswhite")
    assert_reads(path, (255 - stack).max(axis=0, keepdims=True), z_projection="max")


def test_pages_of_different_size_are_refused_with_their_shapes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "f.tif") as writer:
        writer.write(np.zeros((6, 5), np.uint8), metadata=None)
        writer.write(np.zeros((6, 4), np.uint8), metadata=None)
    with pytest.raises(ImageReadError, match=r"f\.tif: channels of different size \(0 \(6, 5\), 1 \(6, 4\)\)"):
        open_field(tmp_path / "f.tif")


def test_pages_stored_in_several_ways_are_channels_all_the_same(tmp_path):
    image, path = planes(), tmp_path / "f.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane, compression in zip(image, (None, "lzw", "deflate"), strict=True):
            writer.write(plane, compression=compression, metadata=None)
    assert_reads(path, image, ("0", "1", "2"))


def test_colour_pages_and_several_ome_images_are_refused(tmp_path):
    colour = planes("uint8", 6, 6, 5).reshape(2, 3, 6, 5).transpose(0, 2, 3, 1)
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb", metadata=None)
    with pytest.raises(ImageReadError, match=r"c\.tif: several colour images, shape \(2, 6, 5, 3\)"):
        open_field(tmp_path / "c.tif")
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as writer:
        for name in ("first", "second"):
            writer.write(planes(), metadata={"axes": "CYX", "Name": name}, photometric="minisblack")
    with pytest.raises(ImageReadError, match=r"two\.ome\.tif: OME-TIFF with 2 images \(first .*, second"):
        open_field(tmp_path / "two.ome.tif")


@pytest.mark.parametrize("dtype", ["int16", "uint32"])
def test_other_pixel_types_are_refused_by_name(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "f.tif", np.ones((4, 4), dtype), metadata=None)
    with pytest.raises(ImageReadError, match=rf"f\.tif: {dtype} pixels are not supported"):
        open_field(tmp_path / "f.tif")


@pytest.mark.parametrize("packed", [False, True])
def test_a_region_is_read_without_loading_the_file(tmp_path, packed):
    image, path = planes("uint16", 3, 2048, 2048), tmp_path / "f.ome.tif"
    write_ome_tiff(path, image, NAMES, compression="deflate" if packed else None, tile_px=256 if packed else None)
    with open_field(path) as field:
        field.read(None, (0, 0, 1, 1))  # what is imported and cached at first use does not count
        tracemalloc.start()
        region = field.read(["DAPI"], (1000, 1000, 1100, 1100))
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    np.testing.assert_array_equal(region[0], image[0, 1000:1100, 1000:1100])
    assert most_bytes < image.nbytes / 20


@pytest.mark.parametrize(
    ("written", "um_per_px"), [("MPP = 0.4990", 0.499), ("MPP=0.25", 0.25), ("MPP = none", None), ("AppMag = 20", None)]
)
def test_an_aperio_slide(tmp_path, written, um_per_px):
    y, x = np.mgrid[:300, :400]
    image = np.stack([x * 255 // 400, y * 255 // 300, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    header = f"Aperio Image Library v11.2.1\r\n400x300 [0,0 400x300] (256x256) JPEG/RGB Q=70|{written}|Left = 1"
    options = {"photometric": "rgb", "compression": "jpeg", "tile": (128, 128), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "s.svs") as writer:
        writer.write(image, description=header, **options)
        writer.write(image[::4, ::4], description="Aperio Image Library v11.2.1\r\n400x300 -> 100x75 - ", **options)
    (source,) = list_fields(tmp_path)
    with source.open() as field:
        assert (field.channels, field.size_wh, field.um_per_px) == (("red", "green", "blue"), (400, 300), um_per_px)
        pixels = field.read(["blue", "red"], (120, 100, 200, 140))
    np.testing.assert_allclose(pixels[1].astype(int), image[100:140, 120:200, 0], atol=12)
    np.testing.assert_allclose(pixels[0].astype(int), 90, atol=12)
