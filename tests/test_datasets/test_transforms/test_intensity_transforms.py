"""Gamma and stretch in the pipeline: the printed equations on 0-255."""

import numpy as np
import pytest

from ctc_mm.registry import TRANSFORMS

GAMMA, STRETCH = "ctc_mm.GammaTransform", "ctc_mm.HistogramStretch"


def build(name, **kwargs):
    return TRANSFORMS.build(dict(type=name, **kwargs))


@pytest.mark.parametrize("name", [GAMMA, STRETCH])
def test_empty_image_passes(name):
    results = build(name)(dict(img=np.zeros((0, 4, 3), np.float32)))
    assert results["img"].shape == (0, 4, 3)


@pytest.mark.parametrize("gamma", [0.8, 1.5, 2.0])
def test_gamma_on_the_pipelines_scale(gamma):
    image = np.random.default_rng(0).uniform(0, 255, (5, 6, 3)).astype(np.float32)
    before = image.copy()
    results = build(GAMMA, gamma=gamma)(dict(img=image))
    np.testing.assert_allclose(results["img"], (before / 255) ** gamma * 255, rtol=1e-5)
    assert results["img"].dtype == np.float32
    assert results["gamma"] == gamma
    np.testing.assert_array_equal(image, before)


def test_gamma_of_reading_10_is_the_default_and_darkens_uint8_too():
    results = build(GAMMA)(dict(img=np.full((2, 2), 128, np.uint8)))
    assert results["gamma"] == 1.5
    assert results["img"].dtype == np.uint8
    assert results["img"][0, 0] == round((128 / 255) ** 1.5 * 255)


def test_stretch_spreads_to_its_range():
    image = np.float32([[100, 150, 200]])[..., None].repeat(3, 2)
    np.testing.assert_allclose(build(STRETCH)(dict(img=image))["img"][0, :, 0], [0, 127.5, 255])
    np.testing.assert_allclose(build(STRETCH, out_range=(10, 20))(dict(img=image))["img"][0, :, 0], [10, 15, 20])
    constant = build(STRETCH, out_range=(10, 20))(dict(img=np.full((2, 2), 9, np.uint8)))["img"]
    np.testing.assert_array_equal(constant, np.full((2, 2), 10, np.float32))


@pytest.mark.parametrize("name", [GAMMA, STRETCH])
@pytest.mark.parametrize("image", [np.full((2, 2), 4000, np.uint16), np.float32([[-3, 4]]), np.float32([[0, 300]])])
def test_images_off_the_scale_are_refused_with_the_cure(name, image):
    with pytest.raises(ValueError, match=r"f\.tif: .* needs pixels in 0-255.*LoadMicroscopyImage"):
        build(name)(dict(img=image, img_path="f.tif"))


@pytest.mark.parametrize("gamma", [0, -1, float("nan"), float("inf")])
def test_bad_gamma(gamma):
    with pytest.raises(ValueError, match="gamma must be a number above 0"):
        build(GAMMA, gamma=gamma)


@pytest.mark.parametrize("out_range", [(5, 5), (20, 10), (0, 256), (-1, 255), (0, 1, 2)])
def test_bad_out_range(out_range):
    with pytest.raises(ValueError, match="out_range must be two rising numbers within 0-255"):
        build(STRETCH, out_range=out_range)


def test_repr_names_the_parameters():
    assert repr(build(GAMMA, gamma=2.0)) == "GammaTransform(gamma=2.0)"
    assert repr(build(STRETCH)) == "HistogramStretch(out_range=(0.0, 255.0))"
