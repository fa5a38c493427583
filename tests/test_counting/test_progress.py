"""What a run tells: lines in a log, bars on a terminal, the time left."""

import io

import pytest
from rich.console import Console

from ctc_mm.counting import progress as module
from ctc_mm.counting.progress import ConsoleProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def progress_on(terminal):
    text = io.StringIO()
    return ConsoleProgress(Console(file=text, force_terminal=terminal, width=200)), text


def test_no_slides():
    progress, text = progress_on(terminal=False)
    with progress:
        progress.start(0)
    assert text.getvalue() == ""


def test_log_has_a_line_for_each_slide_with_the_time_left(clock):
    progress, text = progress_on(terminal=False)
    with progress:
        progress.start(4)
        progress.add_tiles(10)
        progress.tiles_done(10)
        clock[0] += 60  # 10 of 40 tiles, if the others are like the first
        progress.slide_done("a: CTC 3")
        progress.add_tiles(20)
        progress.tiles_done(20)
        clock[0] += 30  # 30 of 60 tiles in 90 s
        progress.slide_done("b: CTC 0")
        progress.slide_done("c: FAILED: [b]no[/b] image")
        progress.slide_done("d: kept")
    assert text.getvalue().splitlines() == [
        "[1/4] a: CTC 3 (about 3 min left)",
        "[2/4] b: CTC 0 (about 2 min left)",
        "[3/4] c: FAILED: [b]no[/b] image (about 45 s left)",
        "[4/4] d: kept",
    ]


def test_tiles_that_an_earlier_run_has_measured_take_no_time(clock):
    progress, text = progress_on(terminal=False)
    with progress:
        progress.start(2)
        progress.add_tiles(100, done=90)
        progress.tiles_done(10)
        clock[0] += 10
        progress.slide_done("a")
    assert text.getvalue().splitlines() == ["[1/2] a (about 10 s left)"]


def test_terminal_has_bars_and_the_lines_above_them():
    progress, text = progress_on(terminal=True)
    with progress:
        progress.start(2)
        progress.add_tiles(3)
        progress.tiles_done(3)
        progress.slide_done("a: CTC 3")
    shown = text.getvalue()
    assert "[1/2] a: CTC 3\n" in shown.replace("\x1b[2K", "")
    assert "slides" in shown
    assert "1/2" in shown
    assert "3/6" in shown
