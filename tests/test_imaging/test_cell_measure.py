"""What is measured of a cell, and the reasons against using it on its own."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.imaging.cell_measure import (
    BORDER,
    CLUMP,
    IRREGULAR,
    LARGE,
    OUT_OF_FOCUS,
    OVERLAP,
    REASONS,
    SMALL,
    measure_cells,
)


def disc(radius, size=120, centre=(60.3, 59.6)):
    y, x = np.mgrid[:size, :size]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2).astype(np.int32)


def textured(labels, seed=0, blurred=()):
    """An image whose cells are grainy; those in ``blurred`` are out of focus."""
    rng = np.random.default_rng(seed)
    image = np.full(labels.shape, 150.0)
    image[labels > 0] += rng.normal(0, 40, int((labels > 0).sum()))
    soft = cv2.GaussianBlur(image, (0, 0), 4)
    sharp = cv2.GaussianBlur(image, (0, 0), 0.8)
    return np.where(np.isin(labels, blurred), soft, sharp).astype(np.float32)


def grid_of_discs(count, radius=9):
    labels = np.zeros((60, 60 * count), np.int32)
    for index in range(count):
        cv2.circle(labels, (30 + 60 * index, 30), radius, index + 1, -1)
    return labels


def test_no_label_no_measurement():
    assert measure_cells(np.zeros((5, 7), np.int32), np.zeros((5, 7), np.uint8)) == []


@pytest.mark.parametrize("radius", [5, 8, 12, 20, 40])
def test_a_disc_is_round_whole_and_of_its_size(radius):
    mask = disc(radius)
    (cell,) = measure_cells(mask, np.ones(mask.shape, np.uint8), 0.5)
    assert cell.area_px == mask.sum()
    assert cell.diameter_um == pytest.approx(radius, rel=0.02)
    assert cell.centroid_yx == pytest.approx((60.3, 59.6), abs=0.2)
    assert cell.circularity > 0.97
    assert cell.solidity == 1
    y, x = np.nonzero(mask)
    assert cell.box_xyxy == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    assert cell.reasons == ()
    assert cell.is_single


def test_a_bar_is_irregular_and_its_circularity_that_of_a_rectangle():
    labels = np.zeros((80, 80), np.int32)
    labels[30:40, 10:70] = 1
    (cell,) = measure_cells(labels, np.ones((80, 80), np.uint8))
    assert cell.circularity == pytest.approx(4 * math.pi * 600 / 140**2, rel=0.08)
    assert cell.solidity == 1
    assert cell.diameter_um is None
    assert cell.reasons == (IRREGULAR,)


def test_two_cells_in_one_are_irregular():
    labels = np.maximum(disc(10, centre=(60, 50)), disc(10, centre=(60, 68)))
    (cell,) = measure_cells(labels, np.ones(labels.shape, np.uint8))
    assert cell.solidity < 0.93
    assert cell.reasons == (IRREGULAR,)


def test_cells_pressed_together_overlap_and_those_that_just_touch_do_not():
    pressed = np.where(disc(10, centre=(60, 53)) > 0, 1, 2 * disc(10, centre=(60, 66)))
    first, second = measure_cells(pressed, np.ones(pressed.shape, np.uint8))
    assert OVERLAP in first.reasons
    assert OVERLAP in second.reasons
    assert second.contact > 0.2
    touching = np.where(disc(10, centre=(60, 50)) > 0, 1, 2 * disc(10, centre=(60, 71)))
    assert [cell.reasons for cell in measure_cells(touching, np.ones(touching.shape, np.uint8))] == [(), ()]


def test_the_blurred_one_among_sharp_cells_is_out_of_focus():
    labels = grid_of_discs(8)
    cells = measure_cells(labels, textured(labels, blurred=(3,)))
    assert [cell.label for cell in cells if OUT_OF_FOCUS in cell.reasons] == [3]
    # Where all are alike nobody is blamed, nor among too few cells.
    assert not any(cell.reasons for cell in measure_cells(labels, textured(labels, blurred=range(1, 9))))
    few = grid_of_discs(3)
    assert not any(cell.reasons for cell in measure_cells(few, textured(few, blurred=(3,))))


def test_focus_does_not_depend_on_contrast_or_pixel_type():
    labels = grid_of_discs(6)
    image = textured(labels, blurred=(2,))
    plain = measure_cells(labels, image)
    scaled = measure_cells(labels, np.rint(image * 257).astype(np.uint16))
    assert [cell.reasons for cell in plain] == [cell.reasons for cell in scaled]
    assert [cell.sharpness for cell in scaled] == pytest.approx([cell.sharpness for cell in plain], rel=0.01)


def test_large_and_not_round_is_a_clump():
    labels = grid_of_discs(5)
    labels[25:40, 100:140] = 2
    cells = measure_cells(labels, np.ones(labels.shape, np.uint8))
    assert [cell.reasons for cell in cells] == [(), (CLUMP, IRREGULAR), (), (), ()]
    # At the image's edge, what is cut is not round; but a dent is a dent.
    labels = grid_of_discs(5)
    labels[0:20, 60:64] = labels[0:20, 76:80] = labels[18:40, 60:80] = 2
    assert measure_cells(labels, np.ones(labels.shape, np.uint8))[1].reasons == (CLUMP, BORDER)


def test_sizes_and_borders_are_flagged():
    labels = np.zeros((100, 200), np.int32)
    for number, (x, y, radius) in enumerate(((20, 50, 4), (60, 50, 10), (120, 50, 25), (0, 50, 10)), start=1):
        cv2.circle(labels, (x, y), radius, number, -1)
    image = np.ones(labels.shape, np.uint8)
    cells = measure_cells(labels, image, 1.0, (10.0, 30.0))
    assert [cell.reasons for cell in cells] == [(SMALL,), (), (LARGE,), (BORDER,)]
    assert [cell.reasons for cell in measure_cells(labels, image, 1.0)][:3] == [(), (), ()]


@pytest.mark.parametrize(
    ("labels", "image", "options", "error", "message"),
    [
        (np.zeros((4, 4), float), np.zeros((4, 4), np.uint8), {}, TypeError, "integers. Received: float64"),
        (np.zeros((4, 5), int), np.zeros((4, 4), np.uint8), {}, ValueError, r"\(4, 4\). Received: \(4, 5\)"),
        (np.full((4, 4), -1), np.zeros((4, 4), np.uint8), {}, ValueError, "at least 0. Received: -1"),
        (np.ones((4, 4), int), np.full((4, 4), np.nan, np.float32), {}, ValueError, "16 NaN"),
        (np.ones((4, 4), int), np.zeros((4, 4), np.uint8), {"um_per_px": -1.0}, ValueError, "-1"),
        (np.ones((4, 4), int), np.zeros((4, 4), np.uint8), {"diameter_um": (1, 2)}, ValueError, "needs `um_per_px`"),
    ],
)
def test_wrong_inputs_are_named(labels, image, options, error, message):
    with pytest.raises(error, match=message):
        measure_cells(labels, image, **options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["empty", "pixel", "full", "random", "gap"]),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    seed=st.integers(0, 999),
)
def test_any_label_image_is_measured(kind, height, width, seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    if kind == "pixel":
        labels[rng.integers(height), rng.integers(width)] = 3
    elif kind == "full":
        labels[:] = 1
    elif kind != "empty":
        labels = rng.integers(0, 4, (height, width)).astype(np.int32) * (2 if kind == "gap" else 1)
    cells = measure_cells(labels, rng.integers(0, 255, (height, width)).astype(np.uint8), 0.5)
    assert [cell.label for cell in cells] == sorted(set(labels.ravel().tolist()) - {0})
    assert sum(cell.area_px for cell in cells) == (labels > 0).sum()
    for cell in cells:
        assert 0 < cell.circularity <= 1
        assert 0 < cell.solidity <= 1
        assert 0 <= cell.contact <= 1
        assert cell.sharpness >= 0
        y, x = np.nonzero(labels == cell.label)
        assert cell.box_xyxy == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert cell.touches_border == (min(x.min(), y.min()) == 0 or x.max() == width - 1 or y.max() == height - 1)
        assert set(cell.reasons) <= set(REASONS)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), turns=st.integers(1, 3))
def test_turning_changes_no_measure(seed, turns):
    rng = np.random.default_rng(seed)
    labels = np.zeros((40, 40), np.int32)
    for number in (1, 2):
        cv2.circle(labels, tuple(rng.integers(5, 35, 2).tolist()), int(rng.integers(3, 8)), number, -1)
    image = textured(labels, seed)
    plain = measure_cells(labels, image)
    turned = measure_cells(np.rot90(labels, turns).copy(), np.rot90(image, turns).copy())
    for one, other in zip(plain, turned, strict=True):
        assert (one.area_px, one.reasons, one.touches_border) == (other.area_px, other.reasons, other.touches_border)
        assert other.circularity == pytest.approx(one.circularity, abs=1e-9)
        assert other.contact == pytest.approx(one.contact)
        assert other.sharpness == pytest.approx(one.sharpness, rel=1e-3, abs=1e-3)
