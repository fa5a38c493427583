"""Light, focus and camera: each effect measured alone."""

import numpy as np
import pytest

from ctc_mm.phantoms.optics import expose, frequency_grid, image_weak_objects, uneven_illumination

UM_PER_PX = 0.5


def disc(radius_px=12, side=96):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.hypot(y, x)
    return np.clip(radius_px - distance + 0.5, 0, 1).astype(np.float32)[None], distance


def test_no_object_lets_all_light_through():
    nothing = np.zeros((2, 32, 32), np.float32)
    np.testing.assert_array_equal(image_weak_objects(nothing, nothing, np.array([0.0, 5.0]), UM_PER_PX), 1)
    assert image_weak_objects(nothing[:0], nothing[:0], np.zeros(0), UM_PER_PX).shape == (0, 32, 32)


def test_frequencies_are_per_um():
    grid = frequency_grid(10, UM_PER_PX)
    assert grid.shape == (10, 6)
    assert grid[0, 0] == 0
    assert grid[0, 1] == pytest.approx(1 / (10 * UM_PER_PX))
    assert grid[0, 5] == pytest.approx(1 / (2 * UM_PER_PX))


def test_in_focus_phase_is_invisible_and_absorption_shows():
    shape, distance = disc()
    np.testing.assert_allclose(image_weak_objects(shape, 0 * shape, np.zeros(1), UM_PER_PX), 1, atol=1e-5)
    passed = image_weak_objects(0 * shape, 0.3 * shape, np.zeros(1), UM_PER_PX)[0]
    np.testing.assert_allclose(passed[distance < 6], np.exp(-0.3), rtol=0.02)
    np.testing.assert_allclose(passed[distance > 24], 1, atol=0.01)


@pytest.mark.parametrize("defocus_um", [3.0, -3.0])
def test_halo_and_rim_change_sign_through_focus(defocus_um):
    shape, distance = disc()
    passed = image_weak_objects(0.8 * shape, 0 * shape, np.array([defocus_um]), UM_PER_PX)[0]
    inner, outer = passed[(distance > 9) & (distance < 11.5)].mean(), passed[(distance > 12.5) & (distance < 15)].mean()
    assert (inner - 1) * defocus_um > 0.05, "a rim that is bright before focus is dark behind it"
    assert (outer - 1) * defocus_um < -0.05


def test_each_object_has_its_own_focus_and_defocus_blurs():
    shape, distance = disc()
    stack = np.repeat(0.3 * shape, 2, axis=0)
    sharp, blurred = image_weak_objects(0 * stack, stack, np.array([0.0, 25.0]), UM_PER_PX)
    assert np.abs(np.diff(sharp[48])).max() > 1.3 * np.abs(np.diff(blurred[48])).max()


def test_illumination_has_mean_1_and_the_unevenness_asked_for():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(uneven_illumination((20, 30), 0.0, rng), 1)
    spans = []
    for _ in range(40):
        light = uneven_illumination((60, 80), 0.3, rng)
        assert light.shape == (60, 80)
        assert light.mean() == pytest.approx(1, abs=1e-5)
        spans.append(np.ptp(light))
    assert 0.2 < np.mean(spans) < 0.45


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_camera_noise_is_shot_and_read_noise(bit_depth):
    white = 2**bit_depth - 1
    image = expose(
        np.full((400, 400), 0.5, np.float32),
        bit_depth,
        np.random.default_rng(0),
        full_well_electrons=4000,
        read_noise_electrons=30,
    )
    assert image.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    assert image.mean() == pytest.approx(white / 2, rel=0.002)
    assert image.std() == pytest.approx(np.sqrt(2000 + 30**2) / 4000 * white, rel=0.02)


def test_camera_saturates_and_never_wraps():
    rng = np.random.default_rng(0)
    light = np.array([[-0.5, 0.0, 1.5, 9.0]], np.float32)
    image = expose(light, 12, rng, full_well_electrons=1e6, read_noise_electrons=0)
    np.testing.assert_array_equal(image, [[0, 0, 4095, 4095]])
