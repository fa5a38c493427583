import numpy as np
import pytest

from ctc_mm.counting.overview import OVERVIEW_PX, OverviewPass


def planes_of(size_wh, dtype=np.uint16):
    return np.random.default_rng(0).integers(10, 4000, size_wh[::-1]).astype(dtype)


@pytest.mark.parametrize(("size_wh", "shrink"), [((1, 1), 1), ((2048, 10), 1), ((2049, 10), 2), ((5000, 6000), 4)])
def test_the_longest_side_fits(size_wh, shrink):
    overview = OverviewPass(size_wh, ["a"])
    assert overview.shrink == shrink
    overview.add("a", np.full(size_wh[::-1], 7, np.uint8), (0, 0))
    found = overview.bright_field()
    assert max(found.rgb.shape) <= OVERVIEW_PX
    assert found.rgb.shape == (-(-size_wh[1] // shrink), -(-size_wh[0] // shrink), 3)
    assert found.scale == 1 / shrink


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiles_and_their_order_change_nothing(dtype):
    size = (4600, 2300)
    plane = planes_of(size, dtype)
    whole, tiled = OverviewPass(size, ["a"]), OverviewPass(size, ["a"])
    whole.add("a", plane, (0, 0))
    for y in (2048, 1024, 0):
        for x in range(0, size[0], 1024):
            tiled.add("a", plane[y : y + 1024, x : x + 1024], (x, y))
    assert (tiled.bright_field().rgb == whole.bright_field().rgb).all()
    assert tiled.brightest == whole.brightest == {"a": float(plane.max())}


def test_channels_are_drawn_in_their_colours():
    overview = OverviewPass((40, 30), ["dapi", "cep8"])
    for name, place in (("dapi", 5), ("cep8", 20)):
        plane = np.full((30, 40), 100, np.uint16)
        plane[10:14, place : place + 4] = 900
        overview.add(name, plane, (0, 0))
    rgb = overview.fluorescence({"dapi": (0, 0, 255), "cep8": (255, 128, 0)}).rgb
    assert rgb[12, 6].tolist() == [0, 0, 255]
    assert rgb[12, 21].tolist() == [255, 128, 0]
    assert rgb[0, 0].tolist() == [0, 0, 0]


def test_colours_stay_colours():
    overview = OverviewPass((20, 20), ["red", "green", "blue"])
    for name, value in (("red", 200), ("green", 100), ("blue", 50)):
        plane = np.full((20, 20), value, np.uint8)
        plane[:10] = 0
        overview.add(name, plane, (0, 0))
    rgb = overview.bright_field().rgb
    assert rgb[0, 0].tolist() == [0, 0, 0]
    assert rgb[15, 15].tolist() == [255, 128, 64]
