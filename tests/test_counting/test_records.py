from dataclasses import replace
from pathlib import Path

import pytest
from numbers_counts import cells_of, count_of

from ctc_mm.counting.records import GAP, AnalysedArea, CountedCell, Drop, SlideSpec, in_order
from ctc_mm.imaging.field_list import FieldSource

SOURCE = FieldSource("a", "a.tif", {"": Path("a.tif")})


def test_a_slide_without_cells():
    count = count_of()
    assert in_order([]) == ()
    assert count.counts == {"CTC": 0, "WBC": 0, "unidentified": 0}
    assert count.is_complete


def test_cells_are_in_one_order_whatever_the_order_they_were_found_in():
    cells = cells_of(ctc=3, wbc=2, unidentified=1)
    assert in_order(list(cells)[::-1]) == cells
    two = [CountedCell((0, 0, 5, 5), "CTC", score) for score in (0.2, 0.9)]
    assert [cell.score for cell in in_order(two)] == [0.9, 0.2]


def test_gaps_between_fields_are_no_loss_and_damage_is():
    gap = Drop(GAP, "gap", 1, 100_000)
    imaged = AnalysedArea(1_500_000, 400_000, 0, gap_px=100_000)
    assert replace(count_of(area=imaged), drops=(gap,)).is_complete
    assert (imaged.total_px, imaged.share) == (1_900_000, 1.0)
    damaged = AnalysedArea(1_500_000, 305_000, 95_000, gap_px=100_000)
    assert not replace(count_of(area=damaged), drops=(gap, Drop("block", "damaged", 1, 95_000))).is_complete
    assert damaged.share == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"volume_ml": -1.0}, "`volume_ml` of slide a must be a number above 0. Received: -1.0"),
        ({"dilution": 0.0}, "`dilution` of slide a"),
        ({"um_per_px": float("nan")}, "`um_per_px` of slide a"),
        ({"role": "control"}, "must be one of patient, blank, spike_in. Received: 'control'"),
        ({"spiked": 5.0}, "belongs to role 'spike_in'"),
        ({"role": "spike_in"}, "belongs to role 'spike_in'"),
        ({"role": "spike_in", "spiked": -5.0}, "`spiked` of slide a must be 0 or more"),
    ],
)
def test_what_a_slide_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        SlideSpec("a", SOURCE, **values)


def test_volume_of_blood_is_what_was_diluted():
    assert SlideSpec("a", SOURCE).blood_ml is None
    assert SlideSpec("a", SOURCE, volume_ml=6.0, dilution=4.0).blood_ml == 1.5
