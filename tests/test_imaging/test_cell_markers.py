"""Stained cells told from unstained ones."""

import cv2
import numpy as np
import pytest

from ctc_mm.imaging.cell_markers import count_unmatched, flatten_marker, marker_intensities, marker_threshold


def field(stained, background=300.0, dim=20.0, seed=0):
    """Twelve cells of which ``stained`` (label -> brightness) shine, on a sloping background."""
    labels = np.zeros((200, 260), np.int32)
    for index in range(12):
        cv2.circle(labels, (30 + 65 * (index % 4), 35 + 60 * (index // 4)), 10, index + 1, -1)
    light = background + 60 * np.linspace(0, 1, 260)[None] + np.where(labels > 0, dim, 0)
    for label, brightness in stained.items():
        light = light + np.where(labels == label, brightness, 0)
    return labels, np.random.default_rng(seed).poisson(cv2.GaussianBlur(light, (0, 0), 1.5)).astype(np.uint16)


def stained_of(labels, image):
    flat, noise = flatten_marker(image)
    intensities = marker_intensities(flat, labels, 12)
    return set((np.flatnonzero(intensities > marker_threshold(intensities, noise)) + 1).tolist())


@pytest.mark.parametrize(
    "stained", [{}, {3: 900}, {1: 900, 5: 2500, 12: 600}, dict.fromkeys(range(1, 13), 800)], ids=len
)
def test_stained_cells_are_told(stained):
    labels, image = field(stained)
    assert stained_of(labels, image) == set(stained)


def test_gain_and_colour_do_not_matter():
    labels, image = field({2: 900, 7: 700})
    assert stained_of(labels, image.astype(np.float32) * 3.7) == {2, 7}
    colour = np.stack([np.full_like(image, 40), image, np.full_like(image, 9)], axis=-1)
    assert stained_of(labels, colour) == {2, 7}


def test_faint_and_bright_stains_count_alike_where_nothing_else_shines():
    labels, image = field({1: 300, 2: 420, 3: 600, 4: 900}, dim=0)
    assert stained_of(labels, image) == {1, 2, 3, 4}


def test_threshold_lies_in_the_widest_gap_or_at_the_noise():
    assert marker_threshold(np.array([]), 2.0) == 12
    assert marker_threshold(np.array([np.nan, 500.0]), 2.0) == 12
    assert marker_threshold(np.array([-5.0, 3.0, 8.0]), 2.0) == 12
    assert marker_threshold(np.array([20.0, 30.0, 40.0]), 2.0) == 12
    assert marker_threshold(np.array([20.0, 30.0, 1000.0]), 2.0) == pytest.approx(np.sqrt(30 * 1000))


def test_cells_outside_have_no_brightness():
    labels = np.zeros((10, 10), np.int32)
    labels[:3, :3] = 2
    values = marker_intensities(np.full((10, 10), 5.0, np.float32), labels, 3)
    assert np.isnan(values[[0, 2]]).all()
    assert values[1] == 5


def test_stained_objects_without_a_cell_are_counted():
    labels, image = field({3: 900, 8: 900})
    flat, _ = flatten_marker(image)
    assert count_unmatched(flat, labels, 200, 50) == 0
    assert count_unmatched(flat, np.where(labels == 3, 0, labels), 200, 50) == 1
    assert count_unmatched(flat, np.where(labels == 3, 0, labels), 200, 5000) == 0


def test_constant_and_black_images_stain_nothing():
    labels, _ = field({})
    for value in (0, 77):
        assert stained_of(labels, np.full(labels.shape, value, np.uint16)) == set()
    assert stained_of(labels, np.zeros(labels.shape, np.float32)) == set()


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((0, 3)), r"\(0, 3\)"), (np.zeros(5), r"\(5,\)"), (np.full((3, 3), np.nan), "9 NaN")],
)
def test_wrong_marker_images_are_named(image, message):
    with pytest.raises(ValueError, match=message):
        flatten_marker(image)
