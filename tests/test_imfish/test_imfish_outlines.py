"""Nuclei with their outlines, as rows that travel through JSON; and who is told of the pixels of a first pass."""

import json

import numpy as np
import pytest
from imfish_images import one_of_each

from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imfish import ImFISHSettings
from ctc_mm.imfish.first_pass import measure_thresholds
from ctc_mm.imfish.measure import Measurement
from ctc_mm.imfish.tiles import TileReader


@pytest.fixture(scope="module")
def field():
    with field_from_arrays(
        dict(zip(("dapi", "cep8", "cd45"), one_of_each().channels(), strict=True)), um_per_px=0.25
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def thresholds(field):
    return measure_thresholds(field, ImFISHSettings(), 0.25, 1)


def test_outlines_run_around_each_nucleus_and_change_nothing_else(field, thresholds):
    plain = TileReader(field, thresholds).measure_tile((0, 0, 512, 512))
    outlined = TileReader(field, thresholds, outlines=True).measure_tile((0, 0, 512, 512))
    assert len(plain) > 10
    assert [one.first_yx for one in plain] == [one.first_yx for one in outlined]
    for bare, full in zip(plain, outlined, strict=True):
        assert bare.outlines_xy == ()
        assert bare.to_row()[:-1] == full.to_row()[:-1]
        points = np.concatenate([np.array(outline) for outline in full.outlines_xy])
        edges = [*points.min(axis=0), *points.max(axis=0)]
        assert np.abs(np.array(edges) - full.box_xyxy).max() <= 0.75


def test_tiles_give_the_same_outlines(field, thresholds):
    reader = TileReader(field, thresholds, outlines=True)
    whole = reader.measure_tile((0, 0, 512, 512))
    parts = [one for x in (0, 256) for y in (0, 256) for one in reader.measure_tile((x, y, x + 256, y + 256))]
    assert sorted(parts, key=lambda one: one.first_yx) == whole


def test_rows_survive_json_to_the_last_bit(field, thresholds):
    found = TileReader(field, thresholds, outlines=True).measure_tile((0, 0, 512, 512))
    rows = json.loads(json.dumps([one.to_row() for one in found]))
    assert [Measurement.from_row(row) for row in rows] == found


def test_a_first_pass_tells_of_every_pixel_once(field, thresholds):
    seen = {name: np.zeros((512, 512), int) for name in field.channels}

    def see(channel, pixels, region):
        x0, y0, x1, y1 = region
        assert (pixels == field.read([channel], region)[0]).all()
        seen[channel][y0:y1, x0:x1] += 1

    assert measure_thresholds(field, ImFISHSettings(), None, 2, seen=see).spots is not None
    assert all((counts == 1).all() for counts in seen.values())
    assert measure_thresholds(field, ImFISHSettings(), 0.25, 2, seen=see) == thresholds
