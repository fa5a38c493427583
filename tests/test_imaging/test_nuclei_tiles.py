import json
from itertools import product

import cv2
import numpy as np
import pytest
from nucleus_fields import draw_field, same_partition

from ctc_mm.imaging.nuclei import (
    NUCLEUS_HALO_PX,
    NucleusLevels,
    NucleusLevelsPass,
    measure_nucleus_levels,
    segment_nuclei,
    segment_nucleus_tile,
)


@pytest.fixture(scope="module")
def field():
    image, _ = draw_field(size_wh=(1100, 900), n=260, seed=7, gap=1)
    return image


def read_tile(image, core_xyxy, halo):
    """A tile with its halo, as far as the field reaches: pixels and where its corner lies."""
    height, width = image.shape
    x0, y0 = max(core_xyxy[0] - halo, 0), max(core_xyxy[1] - halo, 0)
    return image[y0 : min(core_xyxy[3] + halo, height), x0 : min(core_xyxy[2] + halo, width)], (x0, y0)


def stitch(image, levels, tile_px, halo=NUCLEUS_HALO_PX):
    """Labels of the field put together from tiles: each nucleus from the tile that holds its first pixel."""
    height, width = image.shape
    whole = np.zeros(image.shape, np.int32)
    number = 0
    for y, x in product(range(0, height, tile_px), range(0, width, tile_px)):
        core = (x, y, min(x + tile_px, width), min(y + tile_px, height))
        tile, (x0, y0) = read_tile(image, core, halo)
        labels, settled = segment_nucleus_tile(tile, levels, (x0, y0))
        for label in range(1, labels.max() + 1):
            ys, xs = np.nonzero(labels == label)
            if core[0] <= xs[0] + x0 < core[2] and core[1] <= ys[0] + y0 < core[3]:
                assert settled[label]
                number += 1
                whole[ys + y0, xs + x0] = number
    return whole


@pytest.mark.parametrize("tile_px", [256, 512])
def test_tiles_give_exactly_the_fields_nuclei(field, tile_px):
    levels = measure_nucleus_levels(field)
    expected = segment_nuclei(field, levels=levels)
    assert expected.max() > 200
    assert same_partition(stitch(field, levels, tile_px), expected)


def test_only_what_an_edge_may_change_is_unsettled(field):
    levels = measure_nucleus_levels(field)
    whole = segment_nuclei(field, levels=levels)
    tile, (x0, y0) = field[256:640, 192:704], (192, 256)
    labels, settled = segment_nucleus_tile(tile, levels, (x0, y0))
    cut = whole[256:640, 192:704]
    wrong = 0
    for label in range(1, labels.max() + 1):
        own = labels == label
        there = np.unique(whole[256:640, 192:704][own])
        same = len(there) == 1 and there[0] > 0 and np.array_equal(own, cut == there[0])
        same = same and own.sum() == (whole == there[0]).sum()
        wrong += not same
        assert same or not settled[label]
    assert wrong > 0
    assert settled[1:].sum() > 30


def test_group_larger_than_the_halo_is_told_and_settles_in_a_larger_tile():
    image = np.full((640, 1280), 200.0)
    for x in range(60, 1220, 33):  # a chain of touching nuclei, 1160 px long
        image += cv2.circle(np.zeros(image.shape), (x, 320), 16, 2000.0, -1)
    image = cv2.GaussianBlur(np.minimum(image, 2200), (0, 0), 1.2)
    image = (image + np.random.default_rng(0).normal(0, 10, image.shape)).astype(np.uint16)
    levels = measure_nucleus_levels(image)
    whole, all_settled = segment_nucleus_tile(image, levels, (0, 0))
    assert whole.max() > 20
    assert all_settled.all()
    tile, origin = read_tile(image, (512, 256, 768, 512), NUCLEUS_HALO_PX)
    labels, settled = segment_nucleus_tile(tile, levels, origin)
    assert labels.max() > 3
    assert settled.tolist() == [True] + [False] * int(labels.max())


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("scale", [1, np.float32(1 / 4093)], ids=["uint16", "float32"])
def test_levels_do_not_depend_on_tiles_or_their_order(field, order, scale):
    field = field * scale if scale != 1 else field
    height, width = field.shape
    expected = measure_nucleus_levels(field)
    for tile_px in (256, 512, 768):
        levels = NucleusLevelsPass((width, height), field.dtype)
        for y, x in list(product(range(0, height, tile_px), range(0, width, tile_px)))[::order]:
            levels.add(field[y : y + tile_px, x : x + tile_px], (x, y))
        assert levels.result() == expected


def test_levels_survive_json(field):
    levels = measure_nucleus_levels(field)
    assert NucleusLevels.from_dict(json.loads(json.dumps(levels.to_dict()))) == levels
    assert levels.size_wh == (1100, 900)
    assert (levels.low, levels.high) == (field.min(), field.max())
    assert levels.noise == pytest.approx(20 / 4, rel=0.4)
    ramp = [levels.background[0][0], levels.background[0][-1], levels.background[-1][0]]
    assert ramp == pytest.approx([300, 900, 500], abs=60)


def test_blocks_missing_twice_or_misplaced_are_refused(field):
    levels = NucleusLevelsPass((1100, 900), np.uint16)
    levels.add(field[:512, :512], (0, 0))
    with pytest.raises(ValueError, match="16 of 20 blocks"):
        levels.result()
    with pytest.raises(ValueError, match="x 256, y 0 was given twice"):
        levels.add(field[:256, 256:512], (256, 0))
    for tile, origin in ((field[:256, :256], (512, 100)), (field[:100, 512:768], (512, 0)), (field, (256, 0))):
        with pytest.raises(ValueError, match="multiples of 256"):
            levels.add(tile, origin)
    with pytest.raises(ValueError, match="must be uint16"):
        levels.add(field[:256, 512:768].astype(np.uint8), (512, 0))
    with pytest.raises(ValueError, match="at least 1 x 1"):
        NucleusLevelsPass((0, 5), np.uint8)


def test_tile_outside_the_field_is_refused(field):
    levels = measure_nucleus_levels(field)
    with pytest.raises(ValueError, match="inside the field"):
        segment_nuclei(field, levels=levels, origin_xy=(64, 0))
    with pytest.raises(ValueError, match="inside the field"):
        segment_nucleus_tile(field[:64, :64], levels, (-64, 0))
