"""Slides put together: patients, blanks, spike-ins, and the files over all of them."""

import csv
import io
import json

import pytest
from matplotlib.figure import Figure
from numbers_counts import card_of

from ctc_mm.counting.patients import make_summary
from ctc_mm.counting.performance import Performance
from ctc_mm.counting.records import AnalysedArea
from ctc_mm.counting.statistics import known_recovery, limit_of_blank, poisson_interval
from ctc_mm.counting.summary_figure import _draw_patients, draw_summary
from ctc_mm.counting.summary_files import SLIDE_COLUMNS, slides_csv, summary_markdown, write_summary_files
from ctc_mm.errors import SlideError


def blanks(*counts, volume_ml=7.5):
    return [card_of(n, name=f"b{k}", role="blank", volume_ml=volume_ml) for k, n in enumerate(counts)]


def spike_ins(*pairs, volume_ml=7.5):
    return [
        card_of(found, name=f"s{k}", role="spike_in", spiked=added, volume_ml=volume_ml)
        for k, (added, found) in enumerate(pairs)
    ]


def row_of(summary, patient):
    return next(row for row in summary["patients"] if row["patient"] == patient)


def test_summary_of_nothing():
    summary = make_summary([])
    assert (summary["patients"], summary["slides"], summary["blanks"], summary["spike_ins"]) == ([], [], None, None)
    assert draw_summary(summary) is None
    assert slides_csv(summary).splitlines() == [",".join([*SLIDE_COLUMNS, "error"])]
    assert "No slide of a patient" in summary_markdown(summary, None)


def test_slides_of_a_patient_are_added_up():
    half = AnalysedArea(1_000_000, 0, 1_000_000)
    cards = [
        card_of(3, name="a1", patient="P1", volume_ml=7.5, unidentified=2),
        card_of(4, name="a2", patient="P1", volume_ml=3.0, area=half),
        card_of(9, name="c", patient="P2", volume_ml=7.5),
    ]
    summary = make_summary(cards)
    one = row_of(summary, "P1")
    assert (one["ctc"], one["slides"], one["slides_with_parts_missing"]) == (7, ["a1", "a2"], ["a2"])
    assert one["interval"] == pytest.approx(poisson_interval(7))
    assert one["if_unidentified_were_ctc"]["count"] == 9
    assert one["ctc_per_ml"]["value"] == pytest.approx(7 / (7.5 + 1.5))
    assert one["ctc_per_ml"]["blood_ml"] == 10.5
    assert one["above_blank"] is None
    assert row_of(summary, "P2")["ctc"] == 9


def test_order_of_the_cards_does_not_matter():
    cards = [card_of(n, name=f"a{n}", patient=f"P{n % 2}", volume_ml=7.5) for n in range(4)] + blanks(0, 1)
    assert make_summary(cards) == make_summary(cards[::-1])


def test_slides_without_a_patient_stay_apart():
    summary = make_summary([card_of(3, name="x"), card_of(5, name="y")])
    assert [(row["patient"], row["ctc"]) for row in summary["patients"]] == [("(x)", 3), ("(y)", 5)]


def test_one_unknown_volume_leaves_the_patient_without_a_concentration():
    cards = [card_of(3, name="x", patient="P", volume_ml=7.5), card_of(5, name="y", patient="P")]
    per_ml = row_of(make_summary(cards), "P")["ctc_per_ml"]
    assert per_ml["value"] is None
    assert "volume" in per_ml["reason"]


def test_blanks_and_spike_ins_are_no_patients():
    cards = [*blanks(0, 1), *spike_ins((50, 40)), card_of(6, name="p", patient="P", volume_ml=7.5)]
    summary = make_summary(cards)
    assert [row["patient"] for row in summary["patients"]] == ["P"]
    assert {row["role"] for row in summary["slides"]} == {"patient", "blank", "spike_in"}


def test_limits_are_for_as_much_blood_as_the_patients():
    cards = [*blanks(1, 0, 2, 1)]
    cards += [card_of(4, name=f"p{k}", patient="P", volume_ml=7.5) for k in range(2)]
    cards += [card_of(4, name="q", patient="Q", volume_ml=7.5)]
    summary = make_summary(cards)
    two, one = row_of(summary, "P"), row_of(summary, "Q")
    assert two["limit_of_blank"] == limit_of_blank([1, 0, 2, 1], [7.5] * 4, 15.0).limit
    assert one["limit_of_blank"] == limit_of_blank([1, 0, 2, 1], [7.5] * 4, 7.5).limit == 4
    assert (one["above_blank"], one["above_detection"]) == (False, False)
    assert two["above_blank"] is True
    assert summary["blanks"]["unit"] == "mL of blood"


def test_without_volumes_blanks_are_compared_by_slide():
    cards = [*blanks(0, 1, volume_ml=None), card_of(9, name="p", patient="P")]
    summary = make_summary(cards)
    assert summary["blanks"]["unit"] == "slides"
    assert row_of(summary, "P")["above_blank"] is True
    assert "a volume is unknown" in summary["notes"][0]


def test_spike_ins_are_shown_and_applied_only_when_asked():
    cards = [*spike_ins((50, 40), (100, 80)), card_of(6, name="p", patient="P", volume_ml=7.5)]
    shown, applied = make_summary(cards), make_summary(cards, recovery="measured")
    assert shown["spike_ins"]["recovery"]["value"] == pytest.approx(0.8)
    assert shown["recovery"] is None
    assert row_of(shown, "P")["ctc_per_ml"]["value"] == pytest.approx(0.8)
    assert row_of(applied, "P")["ctc_per_ml"]["value"] == pytest.approx(1.0)
    assert applied["recovery"]["value"] == pytest.approx(0.8)
    given = make_summary(cards, recovery=known_recovery(0.5))
    assert row_of(given, "P")["ctc_per_ml"]["value"] == pytest.approx(1.6)


def test_spiked_cells_on_a_lost_part_cannot_be_found():
    lost = AnalysedArea(1_000_000, 0, 1_000_000)
    cards = [card_of(20, name="s", role="spike_in", spiked=50, area=lost)]
    assert make_summary(cards)["spike_ins"]["recovery"]["value"] == pytest.approx(0.8)


def test_false_cells_of_blanks_are_taken_off_the_spike_ins():
    cards = [*blanks(4, 4), *spike_ins((50, 44))]
    summary = make_summary([*cards, card_of(6, name="p", patient="P", volume_ml=7.5)])
    assert summary["spike_ins"]["recovery"]["value"] == pytest.approx(0.8)
    assert row_of(summary, "P")["ctc_per_ml"]["value"] == pytest.approx(6 / 7.5)
    assert "taken off the spike-ins' recovery, not off patients'" in summary_markdown(summary, None)


@pytest.mark.parametrize("extra", [[], spike_ins((50, 0))], ids=["no spike-in", "none found"])
def test_recovery_that_cannot_be_measured_is_said_and_not_applied(extra):
    summary = make_summary([card_of(6, name="p", patient="P", volume_ml=7.5), *extra], recovery="measured")
    assert "could not be measured" in summary["problems"][0]
    assert row_of(summary, "P")["ctc_per_ml"]["recovery_applied"] is None
    assert summary["problems"][0] in summary_markdown(summary, None)


def test_names_are_no_html_in_markdown():
    failed = [{"name": "<!--x", "patient": "", "role": "patient", "error": "<img src=x onerror=alert(1)>"}]
    text = summary_markdown(make_summary([card_of(6, name="p", patient="<script>a|b</script>")], failed=failed), None)
    assert "<" not in text
    assert "| &lt;script>a\\|b&lt;/script> |" in text
    assert "- &lt;!--x: &lt;img src=x onerror=alert(1)>" in text


def test_failed_slides_are_named_and_are_no_counts_of_0():
    failed = [{"name": "lost", "patient": "P9", "role": "patient", "error": "lost.tif: truncated"}]
    summary = make_summary([card_of(6, name="p", patient="P")], failed=failed)
    lost = row_of(summary, "P9")
    assert (lost["ctc"], lost["interval"], lost["slides_failed"]) == (None, None, ["lost"])
    assert summary["slides"][-1]["status"] == "failed"
    text = summary_markdown(summary, None)
    assert "- lost: lost.tif: truncated" in text
    assert "not counted" in text
    row = list(csv.DictReader(io.StringIO(slides_csv(summary))))[-1]
    assert (row["slide"], row["ctc"], row["error"]) == ("lost", "", "lost.tif: truncated")


def test_corrections_are_pooled_by_patient():
    tested = Performance("classification", "CTC", 0.4, "youden", "chosen before", 45, 50, 2, 400, 0, "metrics.json")
    cards = [card_of(n, wbc=100 - n, name=f"p{n}", patient="P", performance=tested) for n in (2, 8)]
    assert row_of(make_summary(cards), "P")["correction"]["value"] == pytest.approx((10 - 1) / 0.895)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ([card_of(1, name="a"), card_of(1, name="a")], "two count cards are of one slide: a"),
        ([card_of(1, name="a"), card_of(1, name="b", route="imfish")], "different `route`"),
    ],
)
def test_what_cannot_be_added_up(cards, message):
    with pytest.raises(SlideError, match=message):
        make_summary(cards)


def test_slides_that_differ_in_definition_are_noted():
    summary = make_summary([card_of(1, name="a"), card_of(1, name="b", definition="brighter")])
    assert summary["definition"] is None
    assert "bright | brighter" in summary["notes"][0]


@pytest.fixture(scope="module")
def day():
    """A day in a lab: blanks, spike-ins, patients, one of whom has very many cells."""
    cards = [*blanks(0, 1, 0, 2), *spike_ins((10, 8), (50, 43), (100, 79))]
    cards += [card_of(n, name=f"p{n}", patient=f"P|{n}", volume_ml=7.5, unidentified=n % 3) for n in (0, 5, 140)]
    return make_summary(cards, recovery="measured")


def test_files_of_a_day(tmp_path, day):
    files = write_summary_files(tmp_path, day)
    assert [file.name for file in files] == [
        "slides.csv", "patients.csv", "summary.json", "summary.md", "summary.png"
    ]  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(day))
    patients = list(csv.DictReader((tmp_path / "patients.csv").open()))
    assert [(row["patient"], row["ctc"]) for row in patients] == [("P|0", "0"), ("P|140", "140"), ("P|5", "5")]
    assert [row["above_detection"] for row in patients] == ["no", "yes", "no"]
    assert float(patients[2]["ctc_per_ml"]) == pytest.approx(5 / 7.5 / ((130 - 3 * 3 / 4) / 160))
    slides = list(csv.DictReader((tmp_path / "slides.csv").open()))
    assert len(slides) == 10
    assert slides[0]["n_CTC"] == slides[0]["ctc"]


def test_same_day_same_bytes(tmp_path, day):
    one, other = (write_summary_files(tmp_path / name, day) for name in ("x", "y"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_markdown_has_the_numbers_and_no_broken_table(tmp_path, day):
    text = summary_markdown(day, "summary.png")
    assert "| P\\|140 | 1 | 140 | 117.77 to 165.21 |" in text
    assert "Limit of blank for 7.5 mL of blood: 3" in text
    assert "s1 43 of 50" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    columns = {line.replace("\\|", "").count("|") for line in tables}
    assert columns == {9, 10}  # slides and patients


def test_figure_says_where_its_axis_is_logarithmic():
    for counts, label, last in (((3, 70), "(logarithmic from 10 on)", 100), ((3, 7), "interval", None)):
        axis = Figure().subplots()
        summary = make_summary([card_of(count, name=f"p{count}", patient=f"P{count}") for count in counts])
        _draw_patients(axis, summary["patients"], summary)
        assert axis.get_xlabel().endswith(label)
        assert last is None or (axis.get_xticks()[-1], axis.get_xlim()[1]) == (last, last)


def test_figure_leaves_out_what_it_cannot_show():
    many = make_summary([card_of(k % 4, name=f"p{k:03}", patient=f"P{k:03}") for k in range(70)])
    assert draw_summary(many)[:8] == b"\x89PNG\r\n\x1a\n"
    lines = make_summary(spike_ins((50, 0)))  # no recovery: the points alone
    assert lines["spike_ins"]["recovery"] is None
    assert draw_summary(lines)[:4] == b"\x89PNG"
