"""Loading: every kind of image ends as three float32 channels, B G R, 0-255."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS
from mmengine.dataset import Compose

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import write_image
from ctc_mm.registry import TRANSFORMS


def load(results, **kwargs):
    return TRANSFORMS.build(dict(type="ctc_mm.LoadMicroscopyImage", **kwargs))(results)


def test_empty_results_and_empty_array_are_refused():
    with pytest.raises(ValueError, match="img_path"):
        load({})
    with pytest.raises(ImageReadError, match=r"received shape \(0, 4\)"):
        load(dict(img=np.zeros((0, 4), np.uint8)))


def test_colour_file_becomes_bgr_float_with_its_own_values(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_image(tmp_path / "c.png", image)
    results = load(dict(img_path=str(tmp_path / "c.png"), um_per_px=0.6))
    assert results["img"].dtype == np.float32
    assert results["img"].flags.c_contiguous
    np.testing.assert_array_equal(results["img"], image[..., ::-1])
    assert (results["img_shape"], results["ori_shape"], results["white_level"]) == ((5, 7), (5, 7), 255)
    assert results["um_per_px"] == 0.6


@pytest.mark.parametrize(
    ("brightest", "white"), [(0, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (9000, 16383), (65535, 65535)]
)
def test_16_bit_grey_takes_the_smallest_camera_depth_that_holds_it(tmp_path, brightest, white):
    image = np.zeros((4, 6), np.uint16)
    image[1, 2] = brightest
    write_image(tmp_path / "g.png", image)
    results = load(dict(img_path=str(tmp_path / "g.png")))
    assert results["white_level"] == white
    assert results["img"].shape == (4, 6, 3)
    np.testing.assert_allclose(results["img"][1, 2], [brightest * 255 / white] * 3, rtol=1e-6)
    assert results["img"].sum() == pytest.approx(3 * brightest * 255 / white, rel=1e-6)


def test_12_bit_data_keep_their_depth():
    """mmcv's own loaders turn 12-bit data into 0..15 or refuse them: the reason for this transform."""
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    loaded = load(dict(img=image))["img"]
    assert len(np.unique(loaded)) == 4096
    assert (loaded.min(), loaded.max()) == (0, 255)


def test_the_data_sets_white_level_goes_before_the_guess_and_a_number_before_both():
    image = np.full((2, 2), 1000, np.uint16)
    assert load(dict(img=image))["img"].max() == pytest.approx(1000 / 1023 * 255)
    assert load(dict(img=image, white_level=4095))["img"].max() == pytest.approx(1000 / 4095 * 255)
    results = load(dict(img=image, white_level=4095), white_level=2000)
    assert results["img"].max() == pytest.approx(127.5)
    assert results["white_level"] == 2000
    assert load(dict(img=image, white_level=None))["white_level"] == 1023


def test_an_image_of_another_depth_is_refused_and_not_all_white(tmp_path):
    """A 12-bit image under the white level of an 8-bit model would be a white field without cells."""
    write_image(tmp_path / "deep.png", np.full((4, 6), 2000, np.uint16))
    with pytest.raises(ImageReadError, match=r"deep\.png: 100% of its pixels are above the white level 255 \(uint16"):
        load(dict(img_path=str(tmp_path / "deep.png"), white_level=255))


def test_an_image_of_another_size_than_its_labels_is_refused(tmp_path):
    write_image(tmp_path / "turned.png", np.zeros((4, 6), np.uint8))
    path = str(tmp_path / "turned.png")
    assert load(dict(img_path=path, width=6, height=4))["img_shape"] == (4, 6)
    with pytest.raises(ImageReadError, match=r"turned\.png: 6 x 4 px, but the label file says 4 x 6 px"):
        load(dict(img_path=path, width=4, height=6))


def test_brighter_than_white_saturates():
    image = np.array([[100, 5000]], np.uint16)
    np.testing.assert_allclose(load(dict(img=image), white_level=1000)["img"][0, :, 0], [25.5, 255])


def test_float_images_need_a_stated_white_unless_within_one(tmp_path):
    write_image(tmp_path / "f.tif", np.array([[0.0, 0.5, 1.0]], np.float32))
    np.testing.assert_allclose(load(dict(img_path=tmp_path / "f.tif"))["img"][0, :, 1], [0, 127.5, 255])
    write_image(tmp_path / "h.tif", np.array([[0.0, 300.0]], np.float32))
    with pytest.raises(ImageReadError, match=r"h\.tif.*reach 300; give white_level"):
        load(dict(img_path=tmp_path / "h.tif"))
    assert load(dict(img_path=tmp_path / "h.tif"), white_level=600)["img"].max() == pytest.approx(127.5)


def test_white_level_beyond_the_pixel_type_names_the_file(tmp_path):
    write_image(tmp_path / "e.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ImageReadError, match=r"e\.png: white_level must be above 0 and at most 255 \(uint8\)"):
        load(dict(img_path=tmp_path / "e.png", white_level=4095))


def test_nan_pixels_name_the_file(tmp_path):
    write_image(tmp_path / "n.tif", np.array([[np.nan, 1.0]], np.float32))
    with pytest.raises(ImageReadError, match=r"n\.tif: holds pixels that are not finite: 1 NaN"):
        load(dict(img_path=tmp_path / "n.tif"))


def test_arrays_are_bgr_as_in_mmdet_and_are_not_changed():
    image = np.random.default_rng(1).integers(0, 256, (3, 4, 3), np.uint8)
    before = image.copy()
    ours = load(dict(img=image))
    ours["img"] += 1
    np.testing.assert_array_equal(image, before)
    theirs = MMDET_TRANSFORMS.build(dict(type="LoadImageFromNDArray", to_float32=True))(dict(img=image))
    np.testing.assert_array_equal(ours["img"] - 1, theirs["img"])
    np.testing.assert_array_equal(load(dict(img=image[..., :1]))["img"], np.repeat(image[..., :1], 3, axis=2))


@pytest.mark.parametrize("white_level", [0, -5, "full", None, float("nan"), True])
def test_bad_white_level_is_refused(white_level):
    with pytest.raises(ValueError, match="white_level must be 'auto' or a number above 0"):
        load({}, white_level=white_level)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageReadError, match=r"gone\.png: no such image file"):
        load(dict(img_path=str(tmp_path / "gone.png")))


def test_default_config_survives_the_swap_of_inference_detector():
    """``inference_detector`` renames a config's first transform and keeps its arguments: by default ours has none."""
    config = dict(type="ctc_mm.LoadMicroscopyImage")
    config["type"] = "mmdet.LoadImageFromNDArray"
    assert Compose([config])(dict(img=np.zeros((2, 2, 3), np.uint8)))["img_shape"] == (2, 2)
