"""What rectangles cover, and what they leave free."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.imaging.rectangles import covered_px, uncovered_xyxy


def test_nothing_covered_and_all_covered():
    assert covered_px([]) == 0
    assert uncovered_xyxy((4, 3), []) == ((0, 0, 4, 3),)
    assert uncovered_xyxy((4, 3), [(0, 0, 4, 3)]) == ()
    assert uncovered_xyxy((4, 3), [(0, 0, 3, 3), (2, 0, 4, 3)]) == ()


def test_a_hole_and_its_surroundings():
    ring = uncovered_xyxy((10, 10), [(3, 4, 6, 8)])
    assert ring == ((0, 0, 10, 4), (0, 4, 3, 8), (6, 4, 10, 8), (0, 8, 10, 10))
    assert uncovered_xyxy((10, 10), ring) == ((3, 4, 6, 8),)


@st.composite
def drawings(draw):
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append((x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))))
    return (width, height), boxes


@settings(max_examples=200, deadline=None, derandomize=True)
@given(drawings())
def test_each_pixel_is_covered_or_free_once(drawing):
    (width, height), boxes = drawing
    drawn = np.zeros((height, width), int)
    for x0, y0, x1, y1 in boxes:
        drawn[y0:y1, x0:x1] = 1
    assert covered_px(boxes) == drawn.sum()
    for x0, y0, x1, y1 in uncovered_xyxy((width, height), boxes):
        assert x0 < x1
        assert y0 < y1
        drawn[y0:y1, x0:x1] += 1
    assert (drawn == 1).all()
