"""The lab's day: slides that were not counted are named, and the others compared."""

import sys

import pytest

from ctc_mm.counting.count_card import write_card


@pytest.fixture
def lab_day(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield __import__("lab_day")
    for name in {"lab_day", "common"} - before:
        sys.modules.pop(name, None)


def test_slides_that_were_not_counted_are_named(lab_day, tmp_path):
    (tmp_path / "truth.csv").write_text("name,ctcs\nblank_1,0\nP1_a,3\n")
    card = {
        "schema": "ctc_mm.count_card", "schema_version": 1, "slide": {}, "counts": {}, "area": {},
        "ctc": {"count": 2, "interval": [0.24, 7.22]}, "unidentified": 1,
    }  # fmt: skip
    write_card(tmp_path / "P1_a" / "count.json", card)
    told = lab_day.compare(tmp_path, tmp_path)
    assert "on 1 of 1 slides." in told
    assert told.endswith("Not counted, and not in the table: blank_1.")
