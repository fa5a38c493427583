"""Which reason is given, in which order, and what is measured of a nucleus."""

from dataclasses import replace

import numpy as np
import pytest
from imfish_images import FOUR, THREE, TWO, UM_PER_PX, HandDrawnField, one_of_each
from scipy import ndimage

from ctc_mm.imfish import ImFISHSettings, classify_nuclei
from ctc_mm.imfish.measure import Measurement, group_sizes
from ctc_mm.imfish.records import REJECTED
from ctc_mm.imfish.verdict import give_verdicts

GOOD = Measurement(
    first_yx=(10, 20),
    box_xyxy=(10, 10, 44, 44),
    centroid_yx=(26.5, 26.5),
    area_px=900,
    solidity=0.97,
    bright_share=0.0,
    edge_px=1.0,
    group=1,
    on_border=False,
    dapi=1000.0,
    cd45_ring=121.0,
    cep8=130.0,
    spots_yx=((20.0, 20.0), (25.0, 33.0), (31.0, 22.0)),
    spots_snr=(50.0, 60.0, 70.0),
    spots_height=(300.0, 310.0, 320.0),
)


@pytest.fixture(scope="module")
def thresholds():
    """Of an empty field."""
    from ctc_mm.imaging.io import field_from_arrays
    from ctc_mm.imfish import classify_field

    field = field_from_arrays(
        dict(zip(("dapi", "cep8", "cd45"), HandDrawnField().channels(), strict=True)), um_per_px=UM_PER_PX
    )
    measured = classify_field(field).thresholds
    return replace(measured, cep8_threshold=100.0, cd45_threshold=80.0, min_dapi=200.0)


def reason(thresholds, **changes):
    (record,), _ = give_verdicts([replace(GOOD, **changes)], thresholds)
    assert record.is_ctc == (record.reason == "ctc")
    assert record.is_rejected == (record.reason in REJECTED)
    return record.reason


# In the order of precedence: what stands first wins over all that stand below.
CASES = [
    ("border", {"on_border": True}),
    ("debris", {"area_px": 150}),
    ("aggregate", {"group": 3}),
    ("overlap", {"group": 2}),
    ("out_of_focus", {"edge_px": 5.0}),
    ("cd45_positive", {"cd45_ring": 400.0}),
    ("cep8_2", {"spots_height": (300.0, 310.0, 20.0)}),
]


def test_no_nucleus_no_verdict(thresholds):
    assert give_verdicts([], thresholds) == ((), thresholds)


def test_nothing_against_it_is_a_ctc(thresholds):
    assert reason(thresholds) == "ctc"


@pytest.mark.parametrize(("expected", "changes"), CASES, ids=[case[0] for case in CASES])
def test_each_reason(thresholds, expected, changes):
    assert reason(thresholds, **changes) == expected


@pytest.mark.parametrize("place", range(len(CASES) - 1))
def test_first_reason_wins(thresholds, place):
    changes = {}
    for _, later in reversed(CASES[place:]):
        changes |= later
    assert reason(thresholds, **changes) == CASES[place][0]


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("debris", {"dapi": 150.0}),
        ("aggregate", {"area_px": 9000}),
        ("overlap", {"solidity": 0.8}),
        ("out_of_focus", {"edge_px": None}),
        ("cd45_positive", {"cd45_ring": None}),
        ("cep8_0", {"spots_yx": (), "spots_snr": (), "spots_height": ()}),
        ("ctc", {"edge_px": 3.1, "area_px": 315, "solidity": 0.94, "dapi": 201.0}),
    ],
)
def test_other_ways_to_a_reason(thresholds, expected, changes):
    assert reason(thresholds, **changes) == expected


def test_paper_mode_asks_for_signals_alone(thresholds):
    paper = replace(thresholds, settings=ImFISHSettings(mode="paper"), cd45=None, cd45_threshold=None)
    everything = {"on_border": True, "group": 3, "edge_px": 9.0, "cd45_ring": 4000.0, "area_px": 100}
    assert reason(paper, **everything) == "ctc"
    assert reason(paper, spots_height=(1.0, 300.0, 2.0)) == "cep8_1"


def test_number_of_signals_that_make_a_ctc_can_be_chosen(thresholds):
    four = replace(thresholds, settings=ImFISHSettings(min_signals=4))
    assert reason(four) == "cep8_3"


def test_hand_drawn_cells_get_their_reasons():
    records = classify_nuclei(*one_of_each().channels(), um_per_px=UM_PER_PX)
    reasons = {(round(record.centroid_yx[0]), round(record.centroid_yx[1])): record.reason for record in records}
    expected = {
        (60, 60): "ctc",
        (60, 160): "cd45_positive",
        (60, 260): "cep8_0",
        (60, 360): "cep8_1",
        (60, 450): "cep8_2",
        (180, 60): "cd45_positive",
        (180, 160): "cd45_positive",
        (180, 260): "debris",
        (180, 360): "out_of_focus",
    }
    assert {place: reasons.get(place) for place in expected} == expected
    left = {place: reason for place, reason in reasons.items() if place not in expected}
    assert sorted(set(left.values())) == ["aggregate", "border", "overlap"]


def test_numbers_of_a_nucleus():
    record = next(one for one in classify_nuclei(*one_of_each().channels(), um_per_px=0.5) if one.spots_yx)
    assert record.centroid_yx == pytest.approx((60, 60), abs=0.5)
    assert record.area_px == pytest.approx(np.pi * 17**2, rel=0.12)
    assert record.area_um2 == record.area_px * 0.25
    assert record.cep8_count == 4
    drawn = np.array(sorted((60 + dy, 60 + dx) for dy, dx in FOUR))
    np.testing.assert_allclose(record.spots_yx, drawn, atol=0.3)
    assert record.dapi == pytest.approx(1200, rel=0.02)
    assert record.cd45_background == pytest.approx(120, abs=2)
    assert abs(record.cd45) < 3
    x0, y0, x1, y1 = record.box_xyxy
    assert (x0 + x1) / 2 == pytest.approx(60.5, abs=1)
    assert (y0 + y1) / 2 == pytest.approx(60.5, abs=1)


def test_ring_measures_the_cytoplasm_beside_a_bright_neighbour():
    field = HandDrawnField()
    field.nucleus(100, 100, cd45=0, spots=THREE).nucleus(100, 146, cd45=1500, spots=TWO)
    field.nucleus(200, 60, cd45=600).nucleus(200, 120, cd45=600).nucleus(200, 180, cd45=600)
    first, second = classify_nuclei(*field.channels(), um_per_px=UM_PER_PX)[:2]
    assert first.cd45 == pytest.approx(0, abs=10)
    assert second.cd45 == pytest.approx(1500, rel=0.1)
    assert (first.reason, second.reason) == ("ctc", "cd45_positive")


def test_signal_on_the_rim_belongs_to_the_nucleus_and_one_outside_does_not():
    field = HandDrawnField()
    field.nucleus(100, 100, spots=((0, 17.5), (0, -17.5), (0, 3), (0, 24)))
    (record,) = classify_nuclei(*field.channels(), um_per_px=UM_PER_PX)
    assert record.cep8_count == 3


def test_size_of_a_pixel_is_found_from_the_nuclei():
    field = HandDrawnField((512, 512))
    for place in range(8):
        field.nucleus(60 + 120 * (place % 4), 100 + 200 * (place // 4), spots=TWO)
    records = classify_nuclei(*field.channels())
    assert {record.area_um2 for record in records} == {None}
    assert {record.reason for record in records} == {"cep8_2"}


def test_groups_of_touching_labels():
    labels = np.zeros((40, 80), np.int32)
    assert group_sizes(labels, [], 0.2, 50) == {}
    labels[5:25, 5:20], labels[5:25, 20:35] = 1, 2  # side by side
    labels[5:25, 36:50] = 3  # a line of one pixel away
    labels[5:25, 60:75] = 4  # apart
    labels[25:40, 70:80] = 5  # meets the fourth by half its side
    windows = ndimage.find_objects(labels)
    assert group_sizes(labels, windows, 0.2, 50) == {1: 3, 2: 3, 3: 3, 4: 2, 5: 2}
    assert group_sizes(labels, windows, 0.5, 50) == {1: 2, 2: 2}
    # A fragment parts or joins its neighbours as a nucleus does, and counts for none.
    assert group_sizes(labels, windows, 0.2, 290) == {1: 2, 2: 2, 3: 2, 4: 2, 5: 2}
