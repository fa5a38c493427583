"""How the imFISH benchmark counts; what it measures is not tested."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imfish import classify_field
from ctc_mm.phantoms import ImFISHPhantomConfig, generate_imfish_field

CONFIG = ImFISHPhantomConfig(image_wh=(512, 512), ctc_count=(4, 4), wbc_count=(6, 6), other_count=(2, 2))


@pytest.fixture
def script(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    import imaging_imfish

    yield imaging_imfish
    for name in ("imaging_imfish", "common"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def judged():
    """Records and truth of one field."""
    drawn = generate_imfish_field(CONFIG, np.random.default_rng(2))
    planes = dict(zip(drawn.channels, drawn.image_cyx, strict=True))
    return classify_field(field_from_arrays(planes, um_per_px=0.25)).records, drawn.truth


def test_nothing_found_is_counted_against_the_rule(script, judged):
    _, truth = judged
    score = script.RuleScore()
    score.add([], truth)
    told = score.to_dict()
    assert (told["tp"], told["fp"]) == (0, 0)
    assert told["fn"] == int((truth.is_ctc & truth.is_interpretable).sum()) > 0
    assert told["not_found"] == int(truth.is_interpretable.sum())
    assert (told["sensitivity"], told["specificity"], told["exact_cep8"]) == (0.0, 1.0, None)


def test_a_ctc_where_nothing_is_counts_as_false(script, judged):
    records, truth = judged
    ctc = next(record for record in records if record.is_ctc)
    score, with_ghost = script.RuleScore(), script.RuleScore()
    score.add(records, truth)
    with_ghost.add([*records, replace(ctc, box_xyxy=(5000.0, 5000.0, 5030.0, 5030.0))], truth)
    assert with_ghost.to_dict()["fp"] == score.to_dict()["fp"] + 1
    assert with_ghost.to_dict()["tp"] == score.to_dict()["tp"]


def test_verdicts_that_are_turned_round_score_nothing(script, judged):
    records, truth = judged
    score = script.RuleScore()
    score.add([replace(record, is_ctc=not record.is_ctc, cep8_count=99) for record in records], truth)
    told = score.to_dict()
    assert told["sensitivity"] < 0.2
    assert told["specificity"] < 0.5
    assert told["exact_cep8"] == 0.0


def test_each_nucleus_is_matched_once(script, judged):
    records, truth = judged
    matched = script.match_records([*records, *records], truth)
    assert len(set(matched.values())) == len(matched) <= len(truth)
    assert script.match_records(records, truth).keys() == matched.keys()


def test_table_has_a_row_a_phantom(script):
    rule = script.score_rule({"tiny": CONFIG, "WBC": replace(CONFIG, ctc_count=(0, 0), overlap_count=(0, 0))}, fields=1)
    speed = {"side_px": 10_000, "workers": 2, "mp_per_s": 7.0, "mp_per_processor_s": 4.0, "reading_mp_per_s": 33.0}
    speed |= {"peak_mib": 900, "nuclei": 10, "ctcs": 2}
    tiles = {"side_px": 4000, "tiles_px": [1024, 2048], "nuclei": 5, "ctcs": 1, "identical": False}
    table = script.imfish_markdown({"rule": rule, "speed": speed, "tiles": tiles})
    assert "| tiny | 100.0 % (" in table
    assert "7.0 MP/s" in table
    assert "DIFFERENT" in table
