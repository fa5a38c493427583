"""The report in a real browser without a window: no request, no error, sorting, filters, clicks, keys, 10,000 cells."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from report_counts import EVIL, brightfield_count, crowded_count, imfish_count, make_spec

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.patients import make_summary
from ctc_mm.counting.records import AnalysedArea, CountedCell, Overview
from ctc_mm.counting.report.cell_cam import CellCAM
from ctc_mm.counting.report.index import write_index
from ctc_mm.counting.report.write import write_report
from ctc_mm.imaging.field import field_from_arrays

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver; .ci/run installs them"
)
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--window-size=1300,900",
)  # fmt: skip
# On a slow machine under load; measured far below.
MOST_SECONDS_TO_LOAD, MOST_SECONDS_A_STEP = 20, 4


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


def test_index_is_whole_on_a_narrow_screen(browser, tmp_path):
    cards = [make_card(brightfield_count(spec=make_spec(name, patient=name))[0]) for name in ("p1", "p2")]
    path = write_index(tmp_path / "index.html", make_summary(cards))
    size = browser.get_window_size()
    browser.set_window_size(600, 900)
    try:
        browser.get(path.as_uri())
        sides = browser.execute_script(
            "return [document.documentElement.scrollWidth - document.documentElement.clientWidth,"
            " ...[...document.querySelectorAll('.scroll')]"
            ".map((one) => one.getBoundingClientRect().right - innerWidth)]"
        )
        assert max(sides) <= 0
        # What is wider than its frame can be scrolled to its end; the figure is as wide as its frame.
        reached = browser.execute_script(
            "const one = document.querySelector('.scroll'); one.scrollLeft = 1e6;"
            "const last = one.querySelector('th:last-child').getBoundingClientRect();"
            "return last.right - one.getBoundingClientRect().right"
        )
        assert reached <= 1
        figure = "const one = document.querySelector('img.figure'); return one.width - one.parentNode.clientWidth"
        assert browser.execute_script(figure) <= 0
    finally:
        browser.set_window_size(size["width"], size["height"])


class Opened:
    """A report in the browser."""

    def __init__(self, browser, path, fragment=""):
        self.browser = browser
        browser.get("about:blank")
        browser.get_log("browser"), browser.get_log("performance")
        began = time.monotonic()
        browser.get(path.as_uri() + fragment)
        self.wait("return document.documentElement.dataset.ready === '1' && !picturesPending()")
        self.seconds = time.monotonic() - began

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, script, seconds=MOST_SECONDS_TO_LOAD):
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.02)

    def settle(self):
        """Let drawing that waits for the next frame happen."""
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        self.wait("return !picturesPending()")

    def cards(self):
        """Numbers of the cells in the gallery's first cards, in their order."""
        return [int(one) for one in self.run("return state.list.slice(0, 400).map((i) => D.ids[i])")]

    def select(self, name, words):
        self.run(
            "const one = byId(arguments[0]); one.value = [...one.options].find((o) => o.text.startsWith(arguments[1]))"
            ".value; one.dispatchEvent(new Event('change'))",
            name, words,
        )  # fmt: skip
        self.settle()

    def click(self, selector):
        from selenium.webdriver.common.by import By

        # Not under the line of links that stays at the top.
        self.run("document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })", selector)
        self.browser.find_element(By.CSS_SELECTOR, selector).click()
        self.settle()

    def keys(self, selector, *keys):
        from selenium.webdriver.common.by import By

        element = self.browser.find_element(By.CSS_SELECTOR, selector)
        for key in keys:
            element.send_keys(key)
        self.settle()

    def problems(self):
        return [one["message"] for one in self.browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        found = []
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if not url.startswith(("data:", "about:"))]


def written(path, count, field, **options):
    return write_report(path, count, make_card(count), field=field, **options)


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    count, field = brightfield_count(size=640)
    best = max((cell.score, k) for k, cell in enumerate(count.cells) if cell.class_name == "CTC")[1]
    cams = {best: CellCAM(np.ones((8, 8), np.float32), count.cells[best].box_xyxy)}
    return count, written(tmp_path_factory.mktemp("bright") / "report.html", count, field, cams=cams)


@pytest.fixture
def opened(browser, bright):
    return Opened(browser, bright[1])


def test_slide_without_cells(browser, tmp_path):
    count, field = brightfield_count(size=320, blank=True)
    page = Opened(browser, written(tmp_path / "report.html", count, field))
    assert page.run("return byId('count').textContent") == "0"
    assert page.run("return document.querySelector('.nothing').textContent") == "No cell was found on this slide."
    page.click("#zoom-in")
    assert page.problems() == []


def test_nothing_is_asked_of_the_network_and_nothing_fails(opened, bright):
    for selector in ("#zoom-in", "#zoom-fit", "#outlines", "#cam", ".card", ".chip"):
        opened.click(selector)
    assert opened.problems() == []
    assert opened.requests() == [bright[1].as_uri()]


def test_count_is_seen_first(opened, bright):
    found = bright[0].counts["CTC"]
    assert opened.run("return byId('count').textContent") == str(found)
    shown = opened.run(
        "return ['#count', '.interval', '.cover'].map((one) => document.querySelector(one))"
        ".map((one) => one.getBoundingClientRect().bottom)"
    )
    assert max(shown) < 300
    assert opened.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def by_score(count, rising=False):
    rank = {"CTC": 0, "unidentified": 1, "WBC": 2}
    sign = 1 if rising else -1
    order = sorted(
        range(len(count.cells)),
        key=lambda k: (rank[count.cells[k].class_name], sign * round(count.cells[k].score, 4), k),
    )
    return [k + 1 for k in order]


def test_sorting(opened, bright):
    count = bright[0]
    assert opened.cards() == by_score(count)
    opened.select("by-order", "score, lowest")
    assert opened.cards() == by_score(count, rising=True)
    opened.select("by-order", "place")
    assert opened.cards() == list(range(1, len(count.cells) + 1))
    opened.select("by-order", "doubt")
    first = count.cells[opened.cards()[0] - 1]
    ctcs = [cell for cell in count.cells if cell.class_name == "CTC"]
    assert abs(first.score - 0.45) == pytest.approx(min(abs(cell.score - 0.45) for cell in ctcs))
    opened.select("by-order", "diameter")
    assert count.cells[opened.cards()[0] - 1].diameter_um == max(cell.diameter_um for cell in ctcs)


def test_filters(opened, bright):
    count = bright[0]

    def numbers(keep):
        return {k + 1 for k, cell in enumerate(count.cells) if keep(cell)}

    opened.select("by-class", "WBC")
    assert set(opened.cards()) == numbers(lambda cell: cell.class_name == "WBC")
    opened.select("by-flag", "clump")
    assert set(opened.cards()) == numbers(lambda cell: cell.class_name == "WBC" and "clump" in cell.flags)
    opened.select("by-class", "all")
    opened.select("by-flag", "any")
    opened.click('.chip[data-cls="1"]')
    assert set(opened.cards()) == numbers(lambda cell: cell.class_name != "WBC")
    assert opened.run("return document.querySelector('.chip[data-cls=\"1\"]').getAttribute('aria-pressed')") == "false"
    shown = len(numbers(lambda cell: cell.class_name != "WBC"))
    assert opened.run("return byId('shown').textContent") == f"{shown} of {len(count.cells)} cells"


def test_click_on_the_overview_shows_the_cell_in_the_gallery(opened, bright):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    count = bright[0]
    place = max(k for k, cell in enumerate(count.cells) if cell.class_name == "WBC")
    opened.select("by-class", "CTC")  # the gallery does not show it
    x, y = count.cells[place].centre_xy
    overview = opened.browser.find_element(By.ID, "map")
    opened.run("byId('overview').scrollIntoView()")
    left, top, width, height = opened.run(
        "const r = map.getBoundingClientRect(); return [arguments[0] * view.scale + view.dx, "
        "arguments[1] * view.scale + view.dy, r.width, r.height]", x, y,
    )  # fmt: skip
    offset = (round(left - width / 2), round(top - height / 2))
    ActionChains(opened.browser).move_to_element_with_offset(overview, *offset).click().perform()
    opened.settle()
    assert opened.run("return D.ids[state.chosen]") == str(place + 1)
    assert f"cell {place + 1}" in opened.run("return byId('chosen').textContent")
    card = f"#gallery #cell-{place + 1}"
    assert opened.run(f"return document.querySelector('{card}').getAttribute('aria-selected')") == "true"
    inside = opened.run(
        f"const c = document.querySelector('{card}').getBoundingClientRect(), g = gallery.getBoundingClientRect();"
        "return c.top >= g.top - 1 && c.bottom <= g.bottom + 1"
    )
    assert inside


def test_keys_alone_are_enough(opened, bright):
    from selenium.webdriver.common.keys import Keys

    order = by_score(bright[0])
    opened.keys("#gallery", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert opened.run("return D.ids[state.chosen]") == str(order[1])
    opened.keys("#gallery", Keys.END)
    assert opened.run("return D.ids[state.chosen]") == str(order[-1])
    opened.keys("#gallery", Keys.HOME, Keys.ENTER)
    assert opened.run("return document.activeElement.id") == "map"
    scale = opened.run("return view.scale")
    assert scale > opened.run("return view.least")
    opened.keys("#map", "-")
    assert opened.run("return view.scale") < scale
    opened.keys("#map", "0")
    assert opened.run("return view.scale") == opened.run("return view.least")


def ink(page, selector):
    """Whether a canvas shows more than one colour."""
    return page.run(
        "const c = document.querySelector(arguments[0]);"
        "const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let least = 255, most = 0; for (let k = 0; k < p.length; k += 4) { least = Math.min(least, p[k]);"
        "most = Math.max(most, p[k]); } return most - least", selector,
    )  # fmt: skip


def test_pictures_are_drawn(opened):
    assert ink(opened, "#map") > 100
    assert ink(opened, ".card > canvas") > 60
    width = opened.run("return document.querySelector('.card').offsetWidth")
    opened.click("#cam")
    assert opened.run("return document.querySelector('.card').offsetWidth") > width  # one picture more
    opened.click(".card")
    assert opened.run("return [...document.querySelectorAll('#chosen figcaption')].map((one) => one.textContent)") == [
        "Grad-CAM"
    ]


def test_channels_side_by_side(browser, tmp_path):
    count, field = imfish_count()
    page = Opened(browser, written(tmp_path / "report.html", count, field))
    page.click(".card")
    captions = page.run("return [...document.querySelectorAll('#chosen figcaption')].map((one) => one.textContent)")
    assert captions == ["colour", "dapi", "cep8", "cd45"]
    assert all(ink(page, f"#chosen figure:nth-child({k}) canvas") > 60 for k in (1, 2, 3))
    facts = page.run("return document.querySelector('#chosen dl').textContent")
    assert "cep8_count" in facts
    page.select("by-order", "cep8_count")
    most = max(cell.columns["cep8_count"] for cell in count.cells if cell.class_name == "CTC")
    assert page.run("return document.querySelector('.card .line span:last-child').textContent") == str(most)
    assert page.problems() == []


def test_address_of_a_cell(browser, bright):
    page = Opened(browser, bright[1], "#cell-5")
    assert page.run("return D.ids[state.chosen]") == "5"


def test_slide_one_pixel_wide(browser, tmp_path):
    count, _ = brightfield_count(size=320, blank=True)
    cell = CountedCell((0.0, 700.0, 1.0, 712.0), "CTC", 0.6)
    size_wh, area = (1, 2000), AnalysedArea(2000)
    strip = np.full((2000, 1), 90, np.uint8)
    overview = Overview(np.full((2000, 1, 3), 90, np.uint8), 1.0)
    count = replace(count, size_wh=size_wh, area=area, cells=(cell,), um_per_px=None, overview=overview, drops=())
    page = Opened(browser, written(tmp_path / "report.html", count, field_from_arrays({"brightfield": strip})))
    page.click(".card")
    page.click("#zoom-in")
    assert page.run("return barOf(100, 2).text") == "50 px"
    assert page.run("return byId('chosen').textContent").count("0–1, 700–712 px") == 1
    assert page.problems() == []


def test_names_run_no_script(browser, tmp_path):
    count, field = brightfield_count(size=320)
    cells = tuple(replace(cell, flags=(EVIL,), columns={EVIL: EVIL}) for cell in count.cells)
    count = replace(count, cells=cells, notes=(EVIL,), definition=EVIL)
    page = Opened(browser, written(tmp_path / "report.html", count, field))
    page.click(".card")
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert EVIL in page.run("return byId('chosen').textContent")
    assert page.problems() == []


def test_narrow_screen_needs_no_sideways_scrolling(browser, bright):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page = Opened(browser, bright[1])
        assert page.run("return document.documentElement.scrollWidth") <= 360
        assert page.run("return grid.columns") >= 2
        page.click(".card")
        assert page.problems() == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_has_the_count_and_says_what_is_left_out(browser, tmp_path):
    count, field = crowded_count(400)
    page = Opened(browser, written(tmp_path / "report.html", count, field))
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    page.wait("return !picturesPending()")
    assert page.run("return document.querySelectorAll('.card').length") == 120
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    # On paper nothing scrolls: the cards push what follows down.
    assert page.run("return gallery.scrollHeight - gallery.clientHeight") == 0
    assert page.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert page.run("return byId('print-limit').textContent").startswith("The first 120 of 400 cells are printed")
    assert page.run("return document.querySelectorAll('details:not([open])').length") == 0
    page.run("window.dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert page.run("return document.querySelectorAll('.card').length") < 120
    assert page.run("return document.querySelectorAll('details[open]').length") == 1


@pytest.mark.parametrize("channels", [("brightfield",), ("dapi", "cep8", "cd45")])
def test_ten_thousand_cells_are_usable(browser, tmp_path, channels):
    count, field = crowded_count(10_000, channels)
    page = Opened(browser, written(tmp_path / "report.html", count, field))
    assert page.seconds < MOST_SECONDS_TO_LOAD
    assert page.run("return byId('shown').textContent") == "10,000 cells"
    assert page.run("return document.querySelectorAll('.card').length") < 200
    began = time.monotonic()
    page.run("gallery.scrollTop = gallery.scrollHeight / 2")
    page.settle()
    middle = page.run("return Number(document.querySelector('.card').getAttribute('aria-posinset'))")
    assert 3000 < middle < 7000
    page.run("gallery.scrollTop = gallery.scrollHeight")
    page.settle()
    last = page.run("return Math.max(...[...document.querySelectorAll('.card')].map((one) => one.ariaPosInSet))")
    assert last == 10_000
    page.select("by-order", "doubt")
    page.select("by-class", "WBC")
    page.click("#zoom-in")
    page.click('.chip[data-cls="0"]')
    assert time.monotonic() - began < 6 * MOST_SECONDS_A_STEP
    assert page.problems() == []
