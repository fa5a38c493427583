"""Slides opened for a count: pixel sizes compared, resampled on request, damage recorded, a few kept open."""

import threading

import numpy as np
import pytest
import tifffile

from ctc_mm.counting.records import Drop, SlideSpec
from ctc_mm.counting.slide_list import find_slides
from ctc_mm.counting.slides import (
    OpenSlides,
    area_px,
    check_pixel_size,
    drops_of,
    open_slide,
    require_pixel_size,
    um_per_px_source,
)
from ctc_mm.errors import ImageReadError, SlideError
from ctc_mm.imaging.damage import DamageTolerantField
from ctc_mm.imaging.io import field_from_arrays, write_image, write_ome_tiff

IMAGE = np.random.default_rng(5).integers(1, 60000, (1, 600, 700), dtype=np.uint16)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "slide.ome.tif"
    write_ome_tiff(file, IMAGE, ["DAPI"], 0.5, compression="deflate", tile_px=256)
    return file


def spec_of(path, **known) -> SlideSpec:
    (spec,) = find_slides([path], **known)
    return spec


def spoil(path, tile):
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[tile], file.pages[0].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)


def test_a_slide_as_it_is(path):
    with open_slide(spec_of(path)) as field:
        assert isinstance(field, DamageTolerantField)
        assert (field.name, field.um_per_px, field.size_wh) == ("slide", 0.5, (700, 600))
        np.testing.assert_array_equal(field.read(), IMAGE)
        assert drops_of(field) == ()
        assert um_per_px_source(spec_of(path), field) == "file"
        assert require_pixel_size(spec_of(path), field, "anything") == 0.5


def test_a_slide_at_the_model_s_pixel_size(path):
    with open_slide(spec_of(path), 1.0) as field:
        assert (field.um_per_px, field.size_wh) == (1.0, (350, 300))
    with open_slide(spec_of(path, um_per_px=0.25), 1.0) as field:
        assert (field.um_per_px, field.size_wh) == (1.0, (175, 150))
        assert um_per_px_source(spec_of(path, um_per_px=0.25), field) == "given"


def test_a_slide_without_a_pixel_size(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((5, 1), np.uint8))
    spec = spec_of(tmp_path / "a.png")
    message = (
        r"slide a \(a.png\): the file does not say its pixel size, which is needed for .*0.4 um per px; give it in um "
        r"\(--um-per-px, or column um_per_px"
    )
    with open_slide(spec) as field:
        assert field.size_wh == (1, 5)
        assert um_per_px_source(spec, field) == "unknown"
        assert check_pixel_size(spec, field, None, False) == 1.0
        with pytest.raises(SlideError, match=message):
            check_pixel_size(spec, field, 0.4, True)
        with pytest.raises(SlideError, match="which is needed for the size of cells in um; give it"):
            require_pixel_size(spec, field, "the size of cells in um")
    with pytest.raises(SlideError, match=message):
        open_slide(spec, 0.4)


@pytest.mark.parametrize(
    ("slide_um", "model_um", "scale"),
    [(0.4, 0.4, 1.0), (0.44, 0.4, 1.0), (0.4, 0.44, 1.0), (0.5, 0.4, 1.25), (0.25, 0.5, 0.5)],
)
def test_pixel_sizes_that_differ_by_more_than_a_tenth(path, slide_um, model_um, scale):
    spec = spec_of(path, um_per_px=slide_um)
    with open_slide(spec) as field:
        assert check_pixel_size(spec, field, model_um, resample=True) == pytest.approx(scale)
        if scale == 1.0:
            assert check_pixel_size(spec, field, model_um, resample=False) == 1.0
            return
        larger = {1.25: "0.8", 0.5: "2"}[scale]  # small pixels make cells large
        message = (
            rf"slide slide has {slide_um} um per px, the model was trained at {model_um}: cells appear {larger} times "
            r"as large to it; .*\(--resample\)"
        )
        with pytest.raises(SlideError, match=message):
            check_pixel_size(spec, field, model_um, resample=False)


@pytest.mark.parametrize(
    ("slide_um", "fits"), [(1.6, True), (1.7, False), (400.0, False), (0.025, True), (0.0004, False)]
)
def test_pixel_sizes_beyond_any_resampling(path, slide_um, fits):
    spec = spec_of(path, um_per_px=slide_um)
    with open_slide(spec) as field:
        if fits:
            assert check_pixel_size(spec, field, 0.4, resample=True) == pytest.approx(slide_um / 0.4)
            return
        with pytest.raises(SlideError, match=rf"slide slide has {slide_um:g} um per px, .* 0.4: no resampling helps"):
            check_pixel_size(spec, field, 0.4, resample=True)


def test_damage_becomes_a_drop(path):
    spoil(path, 4)
    spoil(path, 8)
    with open_slide(spec_of(path)) as field:
        field.read()
        (drop,) = drops_of(field)
    blocks = ((256, 256, 512, 512), (512, 512, 700, 600))
    assert (drop.kind, drop.count, drop.regions_xyxy) == ("block", 2, blocks)
    assert drop.area_px == 256 * 256 + 188 * 88 == area_px(blocks)
    assert drop.reason.startswith(f"{path}: channel DAPI of shape (600, 700) cannot be decoded (")
    assert drop.reason.endswith("); copy or export the file again")
    with open_slide(spec_of(path), damaged_xyxy=blocks) as field:
        field.read()
        assert drops_of(field) == (Drop("block", "found damaged before", 2, drop.area_px, blocks),)


def test_damage_lies_in_the_pixels_that_are_read(path):
    spoil(path, 0)
    with open_slide(spec_of(path), 1.0) as field:
        pixels = field.read()[0]
        assert field.damaged_xyxy == ((0, 0, 256, 256),)
    with open_slide(spec_of(path, um_per_px=1.0), 1.0) as native:
        native.read()
        assert native.damaged_xyxy == ((0, 0, 256, 256),)
    assert not pixels[:256, :256].any()
    assert pixels[256:].all()
    assert pixels[:, 256:].all()


def test_strict_reading_is_an_error(path):
    spoil(path, 4)
    with open_slide(spec_of(path), tolerant=False) as field:
        assert drops_of(field) == ()
        with pytest.raises(ImageReadError, match="slide.ome.tif: channel DAPI of shape"):
            field.read()


def test_slides_are_kept_open_and_closed_in_turn(tmp_path):
    for number in range(4):
        write_ome_tiff(tmp_path / f"s{number}.ome.tif", IMAGE[:, :50] + number, ["DAPI"], 0.5)
    specs = find_slides([tmp_path])
    with OpenSlides(most=2) as slides:
        with slides.use(specs[0]) as first, slides.use(specs[0]) as again, slides.use(specs[0], 1.0) as other:
            assert first is again
            assert other.size_wh == (350, 25)
        for number, spec in enumerate(specs[1:], start=1):
            with slides.use(spec) as field:
                np.testing.assert_array_equal(field.read(), IMAGE[:, :50] + number)
        with pytest.raises(ValueError, match="is closed"):
            first.read()
        with slides.use(specs[3]) as field:
            assert field.read().shape == (1, 50, 700)
    with pytest.raises(ValueError, match="is closed"):
        field.read()


@pytest.mark.parametrize("by_renaming", [True, False])
def test_a_slide_that_was_replaced_is_opened_anew(path, tmp_path, by_renaming):
    spec, other = spec_of(path), tmp_path / "other.ome.tif"
    write_ome_tiff(other, IMAGE[:, :50] // 2, ["DAPI"], 0.5)
    with OpenSlides() as slides:
        with slides.use(spec) as field:
            assert field.size_wh == (700, 600)
        if by_renaming:  # the old one can still be read by who has it open
            other.replace(path)
        else:
            path.write_bytes(other.read_bytes())
        with slides.use(spec) as field:
            np.testing.assert_array_equal(field.read(), IMAGE[:, :50] // 2)
        path.unlink()
        with pytest.raises(ImageReadError, match=r"slide\.ome\.tif"), slides.use(spec):
            pass


def test_what_is_known_to_be_damaged_is_told_to_the_open_slide(path):
    blocks = ((256, 256, 512, 512),)
    with OpenSlides() as slides:
        with slides.use(spec_of(path)) as field:
            assert field.read(None, (300, 300, 310, 310)).all()
        with slides.use(spec_of(path), damaged_xyxy=blocks) as field:
            assert not field.read(None, (300, 300, 310, 310)).any()
            assert field.damaged_xyxy == blocks


def test_a_poisoned_slide_fails_alone(path, tmp_path):
    (tmp_path / "bad.tif").write_bytes(b"II*\0 not a tiff")
    good, bad = spec_of(path), spec_of(tmp_path / "bad.tif")
    results = []

    def work():
        for spec in (bad, good) * 5:
            try:
                with slides.use(spec) as field:
                    results.append(field.read(None, (5, 5, 9, 9)).shape)
            except ImageReadError as error:
                results.append(str(error)[: len(str(tmp_path / "bad.tif"))])

    with OpenSlides(most=1) as slides:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(str, results)) == sorted(map(str, [(1, 4, 4), str(tmp_path / "bad.tif")] * 20))


def test_areas():
    assert area_px([]) == 0
    assert area_px([(0, 0, 2, 3), (5, 5, 6, 6)]) == 7


def test_arrays_have_no_damage():
    assert drops_of(field_from_arrays({"a": IMAGE[0]})) == ()


def test_reasons_that_differ_are_counted(tmp_path):
    image = np.ones((600, 20), np.float32)
    image[300], image[550] = np.nan, np.inf
    image[551] = np.inf
    write_image(tmp_path / "a.tif", image)
    with open_slide(spec_of(tmp_path / "a.tif")) as field:
        field.read()
        (drop,) = drops_of(field)
    assert (drop.count, drop.regions_xyxy) == (2, ((0, 256, 20, 512), (0, 512, 20, 600)))
    assert drop.reason.startswith(f"{tmp_path / 'a.tif'}: channel '0' holds pixels that are not finite: 20 NaN or")
    assert drop.reason.endswith("; and 1 other reasons")
