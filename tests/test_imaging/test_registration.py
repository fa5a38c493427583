"""Shifts between images of one field: known ones are found, and guesses are not passed off as measured."""

import cv2
import numpy as np
import pytest

from ctc_mm.imaging.registration import Shift, estimate_shift, shift_labels

RNG = np.random.default_rng(5)


def blobs(count, shape=(300, 360), seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for _ in range(count):
        cv2.circle(mask, (int(rng.integers(30, shape[1] - 30)), int(rng.integers(30, shape[0] - 30))), 9, 1, -1)
    return mask


def fluorescence(mask, shift_yx, stained=900, seed=1):
    moved = cv2.warpAffine(
        mask.astype(np.float32), np.float32([[1, 0, shift_yx[1]], [0, 1, shift_yx[0]]]), mask.shape[::-1]
    )
    light = cv2.GaussianBlur(moved * stained, (0, 0), 2) + 200
    return np.random.default_rng(seed).poisson(light).astype(np.uint16)


@pytest.mark.parametrize("shift_yx", [(0, 0), (7, -12), (-20, 3), (2.4, -5.6), (35, 35)])
def test_known_shifts_are_found(shift_yx):
    mask = blobs(12)
    shift = estimate_shift(mask, fluorescence(mask, shift_yx))
    assert shift.shift_yx == pytest.approx(shift_yx, abs=0.4)
    assert shift.is_certain
    assert shift.distance_px == pytest.approx(np.hypot(*shift_yx), abs=0.5)


def test_a_part_of_the_cells_is_enough():
    everything = blobs(12)
    count, labels = cv2.connectedComponents(everything)
    some = np.isin(labels, range(1, count, 3)).astype(np.uint8)
    shift = estimate_shift(everything, fluorescence(some, (5, -9)))
    assert shift.shift_yx == pytest.approx((5, -9), abs=0.6)
    assert shift.is_certain


def test_one_cell_among_equals_is_no_certain_measure_but_within_what_is_plausible():
    everything = np.zeros((300, 300), np.uint8)
    for x in range(50, 300, 60):
        cv2.circle(everything, (x, 150), 9, 1, -1)
    one = np.zeros_like(everything)
    cv2.circle(one, (110, 150), 9, 1, -1)
    moving = fluorescence(one, (4, 6))
    assert estimate_shift(everything, moving, 70).lead < 1.5
    near = estimate_shift(everything, moving, 20)
    assert near.shift_yx == pytest.approx((4, 6), abs=0.7)


def test_noise_and_empty_images_are_not_certain():
    mask = blobs(10)
    for seed in range(8):
        noise = np.random.default_rng(seed).poisson(200, mask.shape)
        assert not estimate_shift(mask, noise).is_certain
    for empty in (np.zeros(mask.shape), np.full(mask.shape, 7.0)):
        assert estimate_shift(mask, empty) == Shift((0.0, 0.0), 0.0, 1.0)
        assert estimate_shift(empty, mask) == Shift((0.0, 0.0), 0.0, 1.0)
    assert estimate_shift(np.ones((1, 1)), np.ones((1, 1))).shift_yx == (0.0, 0.0)


def test_shifts_beyond_the_limit_are_not_looked_for():
    mask = blobs(12)
    near = estimate_shift(mask, fluorescence(mask, (40, 0)), 20)
    assert max(map(abs, near.shift_yx)) <= 20.5
    assert not near.is_certain


def test_brightness_does_not_matter():
    mask = blobs(12)
    image = fluorescence(mask, (6, 2)).astype(np.float64)
    assert estimate_shift(mask, image * 7 + 1000).shift_yx == pytest.approx(
        estimate_shift(mask, image).shift_yx, abs=1e-6
    )


@pytest.mark.parametrize(
    ("fixed", "moving", "message"),
    [
        (np.zeros((4, 6)), np.zeros((4, 5)), "fixed 6 x 4 px, moving 5 x 4 px"),
        (np.zeros((4, 6, 3)), np.zeros((4, 6)), r"`fixed`.*\(4, 6, 3\)"),
        (np.zeros((4, 6)), np.zeros((0, 6)), r"`moving`.*\(0, 6\)"),
        (np.zeros((4, 6)), np.full((4, 6), np.nan), "`moving` holds 24 NaN"),
    ],
)
def test_images_that_do_not_fit_are_named(fixed, moving, message):
    with pytest.raises(ValueError, match=message):
        estimate_shift(fixed, moving)


@pytest.mark.parametrize("shift_yx", [(0, 0), (2, -1), (-3, 4), (50, 0), (0.4, -0.6)])
def test_moved_labels(shift_yx):
    labels = np.arange(1, 31, dtype=np.int32).reshape(5, 6)
    moved = shift_labels(labels, shift_yx)
    dy, dx = (int(np.rint(value)) for value in shift_yx)
    assert moved.dtype == labels.dtype
    for y in range(5):
        for x in range(6):
            from_y, from_x = y - dy, x - dx
            inside = 0 <= from_y < 5 and 0 <= from_x < 6
            assert moved[y, x] == (labels[from_y, from_x] if inside else 0)
