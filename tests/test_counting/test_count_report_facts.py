"""What a report says: numbers as words, the count first, what was not looked at beside it, which cells come first."""

from dataclasses import replace

import pytest
from report_counts import EVIL, brightfield_count, imfish_count, make_spec

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.damaged_cells import BETWEEN_FIELDS
from ctc_mm.counting.merge import REASONS
from ctc_mm.counting.performance import ASSUMED, DETECTION, Performance
from ctc_mm.counting.records import GAP, AnalysedArea, CountedCell, Drop
from ctc_mm.counting.report.cell_data import cell_columns, choose_pictured, orders_of, outlines_of, route_columns
from ctc_mm.counting.report.class_looks import class_looks
from ctc_mm.counting.report.doubt import doubts_of, score_thresholds
from ctc_mm.counting.report.facts import REMOVALS, cover_of, head_of, method_of
from ctc_mm.counting.report.svg import size_histograms, ticks
from ctc_mm.counting.report.words import flat_rows, interval, number, percent
from ctc_mm.counting.spike_in import known_recovery


@pytest.fixture(scope="module")
def bright():
    return brightfield_count(size=320)[0]


def empty_count(**values):
    count, _ = brightfield_count(size=320, blank=True)
    area = AnalysedArea(320 * 320)
    return replace(count, area=area, drops=(), removals={}, notes=(), **values)


def figure(head, name):
    return next((one["value"], one["note"]) for one in head["figures"] if one["name"] == name)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (12, "12"), (9998.0, "9,998"), (0.0253, "0.025"), (5.5716, "5.57"), (18.39, "18.4"), (184.2, "184"),
     (12345.6, "12,346"), (None, "not known"), (-0.5, "-0.50")],
)  # fmt: skip
def test_numbers_have_the_digits_worth_reading(value, words):
    assert number(value) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (1, "100 %"), (0.95, "95 %"), (0.00004, "under 0.01 %"), (0.99999, "over 99.99 %"), (0.012, "1.20 %"),
     (0.7634, "76.3 %")],
)  # fmt: skip
def test_little_is_not_nothing_and_nearly_all_is_not_all(share, words):
    assert percent(share) == words


def test_interval_without_an_upper_end():
    assert interval(0.0, 3.689) == "0 to 3.69"
    assert interval(2.0, None) == "2 to no upper limit"


def test_nested_values_become_rows():
    values = {"cd45": {"low": 1.5, "high": None}, "names": ["a", "b"], "is_on": True, "empty": {}, "long": "x" * 400}
    rows = dict(flat_rows(values))
    assert rows["cd45 · low"] == "1.5"
    assert rows["cd45 · high"] == "none"
    assert rows["names"] == "a, b"
    assert rows["is on"] == "yes"
    assert rows["empty"] == "none"
    assert rows["long"] == "x" * 300 + " … (whole in count.json)"


def test_head_of_an_empty_slide():
    card = make_card(empty_count(spec=make_spec("b1", role="blank", volume_ml=2.0)))
    head = head_of(card)
    assert (head["count"], head["interval"]) == ("0", "95 % interval 0 to 3.69")
    assert head["badges"] == [{"text": "blank control", "warn": False}]
    assert figure(head, "Unidentified") == ("0 cells", "")
    assert figure(head, "CTC per mL of blood") == ("0 (0 to 1.84)", "2 mL of blood on this slide")
    cover = cover_of(card)
    assert [part["value"] for part in cover["parts"]] == ["100 % · 0.037 mm²", "0 %", "0 %"]
    assert cover["reasons"] == [{"what": "Nothing was lost:", "why": "everything that was imaged could be read."}]


def test_head_says_what_the_count_is_of(bright):
    found = bright.counts["CTC"]
    card = make_card(bright, recovery=known_recovery(0.8))
    head = head_of(card)
    assert head["count"] == str(found)
    assert head["badges"] == [{"text": "parts of the slide not read", "warn": True}]
    value, note = figure(head, "CTC per mL of blood")
    share = card["area"]["share"]
    assert value.startswith(f"{number(found / (2 * share * 0.8))} (")
    assert note.startswith(
        "2 mL of blood on this slide (4 mL of sample; each mL of blood became 2 mL), of which 36 % was read"
    )
    assert "divided by the recovery, 80 %. Without:" in note
    doubtful = bright.counts["unidentified"]
    assert figure(head, "Unidentified")[1].startswith(f"were all of them CTC: {found + doubtful} (")
    assert figure(head, "CTC on the whole slide")[0].startswith(f"{number(found / share)} (")
    assert figure(head, "Other cells") == ("WBC 60", "")


def test_head_without_a_volume_says_the_cure(bright):
    head = head_of(make_card(replace(bright, spec=make_spec())))
    assert figure(head, "CTC per mL of blood") == ("not known", "volume unknown: give --volume-ml")


def test_head_of_a_spike_in():
    head = head_of(make_card(empty_count(spec=make_spec("k", role="spike_in", spiked=40.0))))
    assert figure(head, "Cells added") == ("40", "0 % of them found")
    assert head["badges"][0]["text"] == "spike-in control"


def test_correction_by_the_models_test(bright):
    performance = Performance(DETECTION, "CTC", 0.45, "frozen", "validation", 45, 50, 3, 0, 200, "metrics.json")
    count = replace(bright, model={"name": "m", "window_wh": [320, 320], "um_per_px": 0.6})
    value, note = figure(head_of(make_card(count, performance=performance)), "Corrected count")
    assert value.split(" ")[0] not in ("", "not")
    advice = "; assumes false CTC per area as in the test: compare with your blanks"
    assert note == f"by the model's test: 45 of 50 CTC found, 3 false in 200 images (their area {ASSUMED}){advice}"
    known = replace(performance, images_area_px=200 * 640 * 480)
    note = figure(head_of(make_card(count, performance=known)), "Corrected count")[1]
    assert note.endswith(f"3 false in 200 images{advice}")
    unknown = replace(bright, model={"name": "m"})
    assert figure(head_of(make_card(unknown, performance=performance)), "Corrected count") == (
        "not known",
        "the size of the test images is unknown: the model names no `window_wh`",
    )


def test_losses_and_removals_have_reasons(bright):
    cover = cover_of(make_card(bright))
    assert [part["kind"] for part in cover["parts"]] == ["looked", "empty", "lost"]
    assert sum(part["share"] for part in cover["parts"]) == pytest.approx(1)
    assert {"what": "1 block (65,536 px):", "why": "slide_07.tif: tile 12 of page 0 is damaged"} in cover["reasons"]
    assert {
        "what": "9 objects left out:",
        "why": "placed by two windows on both sides of their seam, counted once",
    } in cover["reasons"]
    # What each window sees in its neighbour's part is no loss; it is listed with the method.
    assert not any("41" in reason["what"] for reason in cover["reasons"])
    left_out = next(part["rows"] for part in method_of(make_card(bright)) if part["title"] == "Left out")
    assert ("seen in the margin of a window, counted by its neighbour", "41") in left_out


def test_method_names_files_without_their_folders(bright):
    rows = dict(method_of(make_card(bright))[0]["rows"])
    assert rows["file"] == "slide_07.tif"
    assert rows["pixel size"] == "0.6 µm per px, from the file"


def cells_with(*scores, name="WBC"):
    return tuple(CountedCell((10.0 * k, 0, 10.0 * k + 8, 8), name, score) for k, score in enumerate(scores))


def test_doubt_is_the_distance_from_the_threshold_of_the_class(bright):
    cells = (*cells_with(0.9), *cells_with(0.5, name="CTC"), *cells_with(0.3, name="unidentified"))
    assert doubts_of(replace(bright, cells=cells)) == pytest.approx([0.4, 0.05, 0.15])
    classifier = replace(
        bright, cells=cells, thresholds={"probability": 0.9, "probability_calibrated": 0.7}, model=None
    )
    assert score_thresholds(classifier) == dict.fromkeys(bright.classes, 0.7)
    assert doubts_of(classifier) == pytest.approx([0.2, 0.2, 0.4])
    assert doubts_of(replace(bright, cells=cells, thresholds={}, model=None)) == [None] * 3


def test_doubt_of_the_rule_is_the_nearest_limit(bright):
    thresholds = {"cd45_threshold": 200.0, "settings": {"min_signals": 3, "mode": "robust"}}

    def doubt(signals, cd45, name):
        cell = CountedCell((0, 0, 5, 5), name, columns={"cep8_count": signals, "cd45": cd45})
        return doubts_of(replace(bright, cells=(cell,), thresholds=thresholds, classes=(name, "x")))[0]

    assert doubt(3, 20.0, "CTC") == pytest.approx(0.5 / 3)  # one signal fewer and it is none
    assert doubt(6, 190.0, "CTC") == pytest.approx(0.05)
    assert doubt(2, 20.0, "non-CTC") == pytest.approx(0.5 / 3)
    assert doubt(2, 600.0, "non-CTC") == pytest.approx(2)  # both would have to change
    assert doubt(3, 190.0, "unidentified") is None


def test_pictures_go_to_the_target_then_the_unidentified_then_the_doubtful(bright):
    cells = (*cells_with(0.99, 0.55, 0.7), *cells_with(0.3, name="unidentified"), *cells_with(0.5, 0.46, name="CTC"))
    count = replace(bright, cells=cells)
    looks, doubts = class_looks(count.classes, "CTC"), doubts_of(count)
    assert choose_pictured(count, looks, doubts, 10) == [5, 4, 3, 1, 2, 0]
    assert choose_pictured(count, looks, doubts, 2) == [5, 4]
    assert choose_pictured(count, looks, doubts, 0) == []


def test_classes_differ_in_colour_and_mark():
    looks = class_looks(("CTC", "non-CTC", "debris", "unidentified"), "CTC")
    assert [one.rank for one in looks] == [0, 2, 3, 1]
    assert len({one.colour for one in looks}) == len({one.mark for one in looks}) == 4
    assert [one.dashed for one in looks] == [False, False, False, True]


def test_columns_of_cells():
    count, _ = imfish_count()
    columns = cell_columns(count, doubts_of(count), pictured=[2, 0], explained=[0])
    assert columns["pic"][:3] == [1, -1, 0]
    assert columns["cam"][:3] == [0, -1, -1]
    assert len(columns["box"]) == 4 * len(count.cells)
    assert columns["score"] == [None] * len(count.cells)
    routes = route_columns(count.cells)
    assert [one["name"] for one in routes] == ["reason", "cep8_count", "cd45", "dapi"]
    words = [one["words"] for one in orders_of(columns, routes)]
    assert words[0] == "doubt, nearest to the threshold first"
    assert "cep8_count, highest first" in words
    assert not any("reason" in one for one in words)
    assert words[-1] == "place on the slide"


def test_outlines_are_thinned_for_thumbnails():
    ring = tuple((k / 7, 2.0) for k in range(200))
    cell = CountedCell((0, 0, 30, 5), "CTC", outlines_xy=(ring, ((0, 0), (1, 1))))
    (outlines,) = outlines_of((cell,), [0])
    assert len(outlines) == 1
    assert 2 * 30 <= len(outlines[0]) <= 2 * 48
    assert outlines[0][:2] == [0, 2]


def test_histograms_by_class(bright):
    looks = class_looks(bright.classes, "CTC")
    svg = size_histograms(make_card(bright)["size_um"], looks)
    assert svg.count('font-weight="600"') == 3
    assert f"{bright.counts['CTC']} measured, median" in svg
    assert size_histograms(make_card(empty_count())["size_um"], looks) is None
    named = replace(bright, classes=("CTC", EVIL), cells=cells_with(0.5, name=EVIL))
    cell = replace(named.cells[0], diameter_um=9.0)
    svg = size_histograms(make_card(replace(named, cells=(cell,)))["size_um"], class_looks(named.classes, "CTC"))
    assert "<img" not in svg
    assert "&lt;img" in svg


def test_ticks_are_round():
    assert ticks(7, 20, 10) == [8, 10, 12, 14, 16, 18, 20]
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(3, 3) == [3]


def test_gaps_of_a_mosaic_are_a_part_of_their_own_and_no_loss():
    count = empty_count(spec=make_spec(volume_ml=1.0))
    gap = Drop(GAP, BETWEEN_FIELDS, 1, 25_600, ((160, 160, 320, 320),))
    card = make_card(replace(count, area=AnalysedArea(76_800, gap_px=25_600), drops=(gap,)))
    cover = cover_of(card)
    assert [(part["kind"], part["share"]) for part in cover["parts"]] == [
        ("looked", 0.75), ("empty", 0), ("lost", 0), ("gap", 0.25),
    ]  # fmt: skip
    assert "not imaged (gaps) 25 %" in cover["words"]
    assert cover["reasons"] == [
        {"what": "Nothing was lost:", "why": "everything that was imaged could be read."},
        {"what": "1 gap (25,600 px):", "why": BETWEEN_FIELDS},
    ]
    head = head_of(card)
    assert head["badges"] == []
    assert figure(head, "CTC per mL of blood")[1] == (
        "1 mL of blood on this slide; all of it on what was imaged, none in the gaps"
    )


def test_every_removal_has_words():
    assert set(REASONS) <= set(REMOVALS)
