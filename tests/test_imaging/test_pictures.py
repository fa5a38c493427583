import cv2
import numpy as np
import pytest

from ctc_mm.imaging.io import field_from_arrays, read_image
from ctc_mm.imaging.nuclei import segment_nuclei
from ctc_mm.imaging.overlay import label_outlines
from ctc_mm.imaging.pictures import SKY_BLUE, YELLOW, draw_nuclei, nuclei_around, view_of

RADIUS = 9


def dapi(centres_yx, shape=(200, 260), dtype=np.uint16):
    """Discs of 9 px radius on a noisy background."""
    image = np.full(shape, 20.0)
    for number, (y, x) in enumerate(centres_yx):
        cv2.circle(image, (x, y), RADIUS, 110.0 + 10 * (number % 4), cv2.FILLED, cv2.LINE_AA)
    image = cv2.GaussianBlur(image, (0, 0), 1) + np.random.default_rng(0).normal(0, 1.5, shape)
    return np.rint(image * (10 if dtype == np.uint16 else 1)).clip(0).astype(dtype)


def field_of(image, um_per_px=None):
    return field_from_arrays({"dapi": image}, name="one", um_per_px=um_per_px)


def pixels_of(image_rgb, colour):
    return int((image_rgb == np.array(colour, np.uint8)).all(axis=2).sum())


CENTRES = [(40, 50), (40, 150), (120, 60), (150, 200), (0, 100)]


def test_picture_of_nothing():
    for image in (np.zeros((60, 80), np.uint8), np.full((60, 80), 7, np.uint16), np.zeros((1, 1), np.float32)):
        picture = draw_nuclei(field_of(image), "dapi")
        assert picture.summary == (
            "nuclei: 0 (whole 0, cut by the field's edge 0)",
            "median diameter of whole nuclei: -",
        )
        assert picture.image_rgb.dtype == np.uint8
        assert picture.image_rgb.shape[0] > 12


def test_numbers_and_outlines_of_whole_and_cut_nuclei():
    picture = draw_nuclei(field_of(dapi(CENTRES)), "dapi", zoom=1)
    assert picture.summary[0] == "nuclei: 5 (whole 4, cut by the field's edge 1)"
    diameter = float(picture.summary[1].removeprefix("median diameter of whole nuclei: ").removesuffix(" px"))
    assert diameter == pytest.approx(2 * RADIUS, rel=0.15)
    field_part = picture.image_rgb[:200, (640 - 260) // 2 :][:, :260]
    # Circumference of a disc in 8-connected pixels: about 5.7 times the radius.
    assert pixels_of(field_part, YELLOW) == pytest.approx(4 * 5.7 * RADIUS, rel=0.2)
    assert 10 < pixels_of(field_part, SKY_BLUE) < 40
    assert not pixels_of(field_part[60:90], YELLOW)


def test_lengths_in_micrometres_where_the_pixel_size_is_known():
    in_px = draw_nuclei(field_of(dapi(CENTRES)), "dapi")
    in_um = draw_nuclei(field_of(dapi(CENTRES), um_per_px=0.5), "dapi")
    px = float(in_px.summary[1].split(": ")[1].removesuffix(" px"))
    assert in_um.summary[1].endswith(" µm")
    assert float(in_um.summary[1].split(": ")[1].removesuffix(" µm")) == pytest.approx(px / 2, abs=0.06)
    assert (in_px.image_rgb != in_um.image_rgb).any()


def test_same_picture_twice_and_written_as_it_is(tmp_path):
    one, two = (draw_nuclei(field_of(dapi(CENTRES)), "dapi") for _ in range(2))
    one.save(tmp_path / "new" / "one.png")
    two.save(tmp_path / "two.png")
    assert (tmp_path / "new" / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (read_image(tmp_path / "two.png") == two.image_rgb).all()
    with pytest.raises(ValueError, match=r"\.png"):
        one.save(tmp_path / "one.jpg")


def test_pixel_type_does_not_change_the_field_shown():
    image = dapi(CENTRES, dtype=np.uint8)
    versions = [image, image.astype(np.uint16) * 257, image.astype(np.float32)]
    pictures = [draw_nuclei(field_of(one), "dapi", zoom=1).image_rgb[:200] for one in versions]
    lines = [(picture == np.array(YELLOW, np.uint8)).all(axis=2) for picture in pictures]
    assert lines[0].any()
    assert (lines[0] == lines[1]).all()
    assert (lines[0] == lines[2]).all()
    assert int(np.abs(pictures[0].astype(int) - pictures[1]).max()) <= 1


def test_region_of_a_large_field_shows_what_the_whole_field_has():
    rng = np.random.default_rng(1)
    centres = [
        (y + int(rng.integers(8)), x + int(rng.integers(8))) for y in range(20, 890, 40) for x in range(20, 890, 40)
    ]
    image = dapi(centres, (900, 900))
    image[:, 450:] += 400  # another background on the right: levels must be those of the whole field
    field = field_of(image)
    region = (400, 300, 640, 520)
    whole = {(one.box_xyxy, one.area_px) for one in label_outlines(segment_nuclei(image)) if one.is_in(region)}
    around = nuclei_around(field, "dapi", region, "robust")
    part = {(one.box_xyxy, one.area_px) for one in around if one.is_in(region)}
    assert len(part) > 20
    assert part == whole
    picture = draw_nuclei(field, "dapi", region_xyxy=region, zoom=2)
    assert picture.summary[0].startswith(f"nuclei: {len(part)} ")


def test_paper_method_looks_at_the_whole_field():
    image = dapi(CENTRES)
    expected = {one.box_xyxy for one in label_outlines(segment_nuclei(image, "paper"))}
    found = {one.box_xyxy for one in nuclei_around(field_of(image), "dapi", (0, 0, 20, 20), "paper")}
    assert found == expected


def test_region_and_zoom_decide_the_size():
    field = field_of(dapi(CENTRES))
    assert view_of(field).zoom == 5
    assert view_of(field, (10, 20, 30, 60)).zoom == 12
    assert view_of(field, (10, 20, 30, 60), 0.5).size_wh == (10, 20)
    with pytest.raises(ValueError, match=r"region \(0, 0, 261, 10\) leaves field 'one' of 260 x 200 px"):
        view_of(field, (0, 0, 261, 10))


def test_unknown_channel_is_an_error():
    with pytest.raises(ValueError, match="no channel"):
        draw_nuclei(field_of(dapi(CENTRES)), "cd45")
