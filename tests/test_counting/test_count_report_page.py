"""The report as a file: it asks nothing of the network, escapes every name, and is the same for the same count."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_counts import EVIL, brightfield_count, crowded_count, imfish_count, make_spec

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.patients import NO_VOLUME, make_summary
from ctc_mm.counting.performance import read_performance
from ctc_mm.counting.records import AnalysedArea, CountedCell
from ctc_mm.counting.report.cell_cam import CellCAM
from ctc_mm.counting.report.index import write_index
from ctc_mm.counting.report.write import write_report
from ctc_mm.errors import ImageReadError, SlideError
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import write_json

MOST_BYTES = 40_000_000


class Page(HTMLParser):
    """Elements by id, scripts' texts, and every address that a page could ask for."""

    def __init__(self, html):
        super().__init__()
        self.addresses, self.tags, self.texts, self._open = [], [], {}, None
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href", "action", "data") if values.get(key)]
        self._open = values.get("id", tag)

    def handle_data(self, data):
        self.texts[self._open] = self.texts.get(self._open, "") + data
        self.words += data


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bright():
    return brightfield_count(size=640)


def test_slide_without_cells(tmp_path):
    count, field = brightfield_count(size=320, blank=True)
    count = replace(count, area=AnalysedArea(320 * 320), drops=(), removals={})
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
    data = json.loads(page.texts["data"])
    assert data["cells"]["cls"] == []
    assert [one["count"] for one in data["classes"]] == [0, 0, 0]
    assert data["orders"] == [{"key": "position", "values": "position", "words": "place on the slide", "rising": False}]
    assert "No cell has a diameter in µm." in page.words
    assert "Nothing was lost:" in page.words


def test_report_asks_nothing_of_the_network(bright, tmp_path):
    count, field = bright
    path = write_report(tmp_path / "report.html", count, make_card(count), field=field)
    page = page_of(path)
    assert [one for one in page.addresses if not one.startswith(("#", "data:"))] == []
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\s\"'<]+", text) == []
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\((?!data:)", text)


def test_same_count_same_bytes(bright, tmp_path):
    count, field = bright
    card = make_card(count)
    one, two = (write_report(tmp_path / f"{name}.html", count, card, field=field) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_every_name_is_escaped(tmp_path):
    count, field = brightfield_count(size=320)
    cell = CountedCell((5, 5, 30, 30), EVIL, 0.7, 9.0, (EVIL,), {EVIL: EVIL})
    count = replace(
        count, cells=(cell,), classes=("CTC", EVIL, "unidentified"), definition=EVIL, notes=(EVIL,),
        removals={EVIL: 2}, thresholds={EVIL: EVIL}, model={"name": EVIL},
        spec=make_spec(patient=EVIL), drops=(replace(count.drops[0], reason=EVIL),),
    )  # fmt: skip
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
    assert page.tags.count("img") == 0
    assert page.tags.count("script") == 4  # data, overview, one sheet, the script
    data = json.loads(page.texts["data"])
    assert data["classes"][1]["name"] == EVIL
    assert data["columns"] == [{"name": EVIL, "values": [EVIL]}]


def test_numbers_shown_are_the_cards(bright, tmp_path):
    count, field = bright
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
    assert page.texts["count"] == str(count.counts["CTC"])
    data = json.loads(page.texts["data"])
    assert {one["name"]: one["count"] for one in data["classes"]} == count.counts
    assert data["cells"]["score"] == [round(cell.score, 4) for cell in count.cells]
    assert data["cells"]["box"][:4] == pytest.approx(count.cells[0].box_xyxy, abs=0.06)
    assert data["ids"][:2] == ["1", "2"]
    assert data["lost"] == [[512, 256, 768, 512]]


def test_pictures_up_to_a_limit_that_is_said(tmp_path):
    count, field = crowded_count(600)
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field, gallery=50))
    data = json.loads(page.texts["data"])
    assert sorted(one for one in data["cells"]["pic"] if one >= 0) == list(range(50))
    n_ctc = count.counts["CTC"]
    assert "All 600 cells: CTC first, then unidentified cells, then the others. 50 of them have pictures" in page.words
    assert f"CTC {n_ctc} of {n_ctc}" in page.words
    none = page_of(write_report(tmp_path / "none.html", count, make_card(count), field=field, gallery=0))
    assert set(json.loads(none.texts["data"])["cells"]["pic"]) == {-1}
    assert "All 600 cells as the overview shows them" in none.words


def test_channels_of_fluorescence(tmp_path):
    count, field = imfish_count()
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
    data = json.loads(page.texts["data"])
    assert data["panels"] == ["colour", "dapi", "cep8", "cd45"]
    assert data["sheet"]["w"] == 4 * data["sheet"]["h"]
    assert [data["columns"][k]["name"] for k in data["highlights"]] == ["cep8_count", "cd45"]
    assert all(rings for rings in data["outlines"])


def test_grad_cam_is_beside_the_cells_that_have_one(bright, tmp_path):
    count, field = bright
    place = next(k for k, cell in enumerate(count.cells) if cell.class_name == "CTC")
    cams = {place: CellCAM(np.ones((4, 4), np.float32), count.cells[place].box_xyxy)}
    card = make_card(count)
    path = write_report(tmp_path / "report.html", count, card, field=field, cams=cams, cam_note="24 cells")
    page = page_of(path)
    data = json.loads(page.texts["data"])
    assert data["cam"]["count"] == 1
    assert data["cells"]["cam"][place] == 0
    assert "cam-0" in page.texts
    assert "24 cells" in page.words
    without = page_of(write_report(tmp_path / "without.html", count, card, field=field))
    assert json.loads(without.texts["data"])["cam"] == {"count": 0}
    assert "cam" not in [one for one in without.texts if one == "cam"]


def test_slide_that_cannot_be_read_any_more(bright, tmp_path):
    count, _ = bright

    class Gone:
        name, size_wh, channels = "slide_07", count.size_wh, count.channels

        def read(self, channels=None, region_xyxy=None):
            raise ImageReadError("slide_07.tif: no such file")

    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=Gone()))
    assert "No pictures could be cut from the slide: slide_07.tif: no such file" in page.words
    assert set(json.loads(page.texts["data"])["cells"]["pic"]) == {-1}


def test_count_without_overview_and_pixel_size(bright, tmp_path):
    count, field = bright
    cells = tuple(replace(cell, diameter_um=None) for cell in count.cells)
    count = replace(count, overview=None, um_per_px=None, um_per_px_source="unknown", cells=cells)
    page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
    data = json.loads(page.texts["data"])
    assert (data["overview"], data["um_per_px"]) == (None, None)
    assert "This count came without a picture of the slide." in page.words
    assert "No cell has a diameter in µm: the pixel size is not known." in page.words


def test_gallery_below_zero_is_refused(bright, tmp_path):
    with pytest.raises(ValueError, match="`gallery` must be 0 or more. Received: -1"):
        write_report(tmp_path / "report.html", bright[0], make_card(bright[0]), gallery=-1)


def detector_test(folder, columns="score,precision,recall,f1,tp,fp,fn"):
    point = {"score_thr": 0.45, "TP": 45, "FN": 5, "FP": 3}
    write_json(
        folder / "metrics.json",
        {"target": "CTC", "images": 200, "operating_point_source": "applied",
         "per_class": {"CTC": {"at_frozen_thr": point, "at_score_thr": point}}},
    )  # fmt: skip
    (folder / "pr_CTC.csv").write_text(
        f"{columns}\n" + "".join(f"{1 - k / 900},1,{k / 900},0,1,0,1\n" for k in range(900))
    )
    return read_performance(folder)


def test_curve_of_a_detectors_test(bright, tmp_path):
    count, field = bright
    performance = detector_test(tmp_path)
    path = write_report(tmp_path / "report.html", count, make_card(count), field=field, performance=performance)
    page = page_of(path)
    assert "Precision and recall" in page.words
    assert "CTC (50 in the test)" in page.words
    assert "90 % (45 of 50 CTC found)" in page.words
    points = re.search(r'<polyline points="([^"]+)"', path.read_text(encoding="utf-8"))[1].split()
    assert 200 < len(points) <= 401
    assert points[0] == "52.0,56.0"  # recall 0, precision 1
    assert points[-1] == f"{52 + 330 * 899 / 900:.1f},56.0"


def test_curves_of_a_classifiers_test(bright, tmp_path):
    point = {"threshold": 0.6, "TP": 45, "FN": 5, "FP": 3, "TN": 97, "source": "validation"}
    write_json(tmp_path / "metrics.json", {"target": "CTC", "operating_points": {"youden": point}})
    header = ("curve", "threshold", "fpr", "sensitivity", "precision")
    rows = [(name, 0.5, x, x**0.5, 1 - x / 2) for name in ("model", "size alone") for x in (0.0, 0.5, 1.0)]
    for name in ("roc.csv", "pr.csv"):
        (tmp_path / name).write_text(csv_text(header, rows), encoding="utf-8")
    count, field = bright
    performance = read_performance(tmp_path)
    page = page_of(write_report(tmp_path / "r.html", count, make_card(count), field=field, performance=performance))
    for words in ("ROC", "Precision and recall", "false-positive rate", "size alone", "3 in 100 cells that are no CTC"):
        assert words in page.words


def test_files_of_the_models_test_that_are_missing_or_wrong(bright, tmp_path):
    count, field = bright
    performance = detector_test(tmp_path, columns="a,b,c,d,e,f,g")
    with pytest.raises(SlideError, match=r"pr_CTC.csv: is no curve .* columns recall and precision"):
        write_report(tmp_path / "r.html", count, make_card(count), performance=performance)
    assert not (tmp_path / "r.html").exists()
    (tmp_path / "pr_CTC.csv").unlink()
    page = page_of(write_report(tmp_path / "r.html", count, make_card(count), field=field, performance=performance))
    assert "The curves' files are not beside it." in page.words


@pytest.mark.parametrize("channels", [("brightfield",), ("dapi", "cep8", "cd45")])
def test_ten_thousand_cells_stay_a_file_that_can_be_sent(channels, tmp_path):
    count, field = crowded_count(10_000, channels)
    path = write_report(tmp_path / "report.html", count, make_card(count), field=field, gallery=10_000)
    assert path.stat().st_size < MOST_BYTES
    data = json.loads(page_of(path).texts["data"])
    assert len(data["cells"]["cls"]) == 10_000
    assert min(data["cells"]["pic"]) == 0


def cards_of_a_day():
    specs = [
        (dict(name="p1_a", patient="P1", volume_ml=2.0), False),
        (dict(name="p2_a", patient="P2", volume_ml=2.0), True),
        (dict(name="blank", role="blank", volume_ml=2.0), True),
        (dict(name="spiked", role="spike_in", spiked=12.0, volume_ml=2.0), False),
    ]
    for values, blank in specs:
        count, _ = brightfield_count(size=640, blank=blank, spec=make_spec(**values))
        yield make_card(count)


def test_index_of_nothing(tmp_path):
    page = page_of(write_index(tmp_path / "index.html", make_summary([])))
    assert "No slide of a patient." in page.words
    assert "No slide." in page.words


def test_index_has_the_reason_beside_the_unknown_concentration_not_in_the_interval(tmp_path):
    (card,) = [card for card in cards_of_a_day() if card["slide"]["name"] == "p1_a"]
    card["slide"]["blood_ml"] = None
    html = write_index(tmp_path / "index.html", make_summary([card])).read_text()
    assert f'not known<small class="why">{NO_VOLUME}</small></td><td class="span"></td>' in html


def test_page_says_how_to_see_doubtful_cells_first(tmp_path):
    hint = "Sort by doubt to look first at those nearest to the threshold."
    for count, field in (brightfield_count(), imfish_count()):
        page = page_of(write_report(tmp_path / "report.html", count, make_card(count), field=field))
        assert (hint in page.words) is (count.route != "imfish")  # which begins with them


def test_index_of_a_day(tmp_path):
    failed = [{"name": EVIL, "patient": "P1", "role": "patient", "error": "cut off; copy it again"}]
    cards = list(cards_of_a_day())
    (tmp_path / "p1_a").mkdir()
    (tmp_path / "p1_a" / "report.html").write_text("")
    path = write_index(tmp_path / "index.html", make_summary(cards, failed=failed))
    page = page_of(path)
    assert [one for one in page.addresses if not one.startswith("data:")] == ["p1_a/report.html"]
    assert page.tags.count("img") == 1  # the figure
    assert "looked at" in page.words
    for words in ("blank control", "could not be counted: cut off; copy it again", "not told from a blank", "limit of"):
        assert words in page.words
    found = next(card["ctc"]["count"] for card in cards if card["slide"]["name"] == "p1_a")
    assert f"spiked {found} of 12" in page.words
    again = write_index(tmp_path / "again.html", make_summary(cards, failed=failed))
    assert again.read_bytes() == path.read_bytes()
