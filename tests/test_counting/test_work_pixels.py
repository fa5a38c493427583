"""What was looked at of a slide, and where it lies, in pixels of the slide."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbers_counts import cells_of, count_of

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.records import AnalysedArea, Drop, as_json
from ctc_mm.counting.work_pixels import WorkPixels

NOTHING = {"damaged_xyxy": [], "gaps_xyxy": [], "drops": [], "fill_value": 0}
AS_IT_IS = WorkPixels((1000, 1000), (1000, 1000))


def test_nothing_lost():
    assert AS_IT_IS.area(NOTHING) == AnalysedArea(10**6)
    assert AS_IT_IS.drops(NOTHING) == ()


def test_damage_over_a_gap_loses_what_was_imaged():
    losses = {**NOTHING, "damaged_xyxy": [[0, 0, 256, 256]], "gaps_xyxy": [[200, 0, 300, 256], [0, 500, 10, 510]]}
    assert AS_IT_IS.area(losses) == AnalysedArea(10**6 - 300 * 256 - 100, dropped_px=200 * 256, gap_px=100 * 256 + 100)
    more = AS_IT_IS.area(losses, [(0, 0, 300, 300)], [(0, 0, 400, 400)])
    assert more == AnalysedArea(10**6 - 160_000 - 100, 70_000, 300 * 300 - 100 * 256, 100 * 256 + 100)


def test_a_mosaic_of_three_fields_is_whole_and_counts_all_of_its_volume():
    losses = {**NOTHING, "gaps_xyxy": [[560, 560, 1120, 1120]]}
    area = WorkPixels((1120, 1120), (1120, 1120)).area(losses)
    count = count_of(cells_of(18), area=area, volume_ml=1.0)
    card = make_card(count)
    assert card["complete"]
    assert card["ctc_per_ml"]["value"] == 18
    assert (card["area"]["share"], card["area"]["gap_px"]) == (1, 560 * 560)
    assert card["area"]["gap_mm2"] == pytest.approx(560 * 560 * count.um_per_px**2 / 1e6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(30, 3000), st.integers(30, 3000)),
    step=st.floats(0.3, 3.0),
    cut=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
)
def test_resampling_makes_no_loss_of_a_gap(size, step, cut):
    work = tuple(max(1, round(side / step)) for side in size)
    gap = [round(work[0] * cut[0]), round(work[1] * cut[1]), *work]
    drop = as_json(Drop("gap", "g", 1, (gap[2] - gap[0]) * (gap[3] - gap[1]), (tuple(gap),)))
    pixels, losses = WorkPixels(size, work), {**NOTHING, "gaps_xyxy": [gap], "drops": [drop]}
    area = pixels.area(losses)
    assert area.dropped_px == area.background_px == 0
    assert area.analysed_px + area.gap_px == size[0] * size[1]
    (moved,) = pixels.drops(json.loads(json.dumps(losses)))
    assert moved.area_px == area.gap_px
    assert moved.regions_xyxy[0][2:] == size
    assert pixels.box((0, 0, *work)) == (0, 0, *size)
