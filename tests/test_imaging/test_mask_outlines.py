import cv2
import numpy as np
import pytest

from ctc_mm.imaging.mask_outlines import outline_polygons


def blob(radius=15.0):
    y, x = np.mgrid[:40, :50]
    return np.hypot(y - 19.5, (x - 24.5) * 0.8) <= radius


@pytest.mark.parametrize("tolerance_px", [0.0, 0.75])
def test_nothing_has_no_outline(tolerance_px):
    assert outline_polygons(np.zeros((5, 6), bool), tolerance_px=tolerance_px) == []


def test_simpler_outlines_stay_near_and_have_fewer_corners():
    exact, simple = (np.array(outline_polygons(blob(), (100, 200), tolerance)[0]) for tolerance in (0.0, 0.75))
    assert len(simple) < len(exact) / 3
    corners = exact.astype(np.float32).reshape(-1, 1, 2)
    assert max(abs(cv2.pointPolygonTest(corners, (float(x), float(y)), True)) for x, y in simple) < 0.01
    outline = simple.astype(np.float32).reshape(-1, 1, 2)
    assert max(abs(cv2.pointPolygonTest(outline, (float(x), float(y)), True)) for x, y in exact) <= 0.76


@pytest.mark.parametrize("shape_hw", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_a_sliver_stays_a_polygon(shape_hw):
    (polygon,) = outline_polygons(np.ones(shape_hw, bool), (3, 4), 0.75)
    x, y = np.array(polygon).T
    assert len(polygon) >= 3
    assert (x.min(), y.min(), x.max(), y.max()) == (3, 4, 3 + shape_hw[1], 4 + shape_hw[0])
