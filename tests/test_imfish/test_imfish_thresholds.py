"""Thresholds of a field: CD45, CEP8, and the valley between two kinds."""

import math

import numpy as np
import pytest

from ctc_mm.imfish import ImFISHSettings, classify_nuclei
from ctc_mm.imfish.cd45 import CD45Levels, CD45LevelsPass, cd45_threshold
from ctc_mm.imfish.cep8 import cep8_threshold
from ctc_mm.imfish.thresholds import ImFISHThresholds
from ctc_mm.imfish.valley import deepest_valley

LEVELS = CD45Levels((256, 256), ((120.0,),), 6.0)


def lognormal(median, count, seed=0, spread=0.3):
    return median * np.random.default_rng(seed).lognormal(0, spread, count)


@pytest.mark.parametrize("values", [[], [5.0], [100.0] * 50, lognormal(400, 5000)], ids=len)
def test_one_kind_of_cells_has_no_valley(values):
    assert deepest_valley(np.log(np.asarray(values, float))) is None


@pytest.mark.parametrize("seed", range(20))
def test_hill_of_any_sample_is_one_hill(seed):
    assert deepest_valley(np.log(lognormal(400, 30 + 200 * seed, seed))) is None


@pytest.mark.parametrize(("few", "many"), [(6, 30), (20, 20), (20, 3000)])
def test_valley_lies_between_two_kinds(few, many):
    valley = math.exp(deepest_valley(np.log(np.concatenate([lognormal(20, few), lognormal(400, many, 1)]))))
    assert 35 < valley < 230


def test_wide_gap_is_halved():
    assert math.exp(deepest_valley(np.log([10.0] * 10 + [1000.0] * 10))) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("scale", [257, 1 / 255, 7.3])
def test_valley_moves_with_the_scale(scale):
    values = np.concatenate([lognormal(20, 30), lognormal(400, 30, 1)])
    assert deepest_valley(np.log(values * scale)) - math.log(scale) == pytest.approx(deepest_valley(np.log(values)))


@pytest.mark.parametrize("intensities", [[], [-3.0, 0.0, 20.0], [400.0] * 40, list(lognormal(20, 40))])
def test_cd45_of_one_kind_is_judged_by_the_background(intensities):
    assert cd45_threshold(np.array(intensities), LEVELS) == (60.0, "background")


def test_gap_among_few_cells_of_one_kind_is_no_valley():
    few = np.array([20.0, 21.0, 22.0, 23.0, 24.0, 70.0, 72.0, 74.0, 76.0, 78.0])
    assert deepest_valley(np.log(few)) is not None
    assert cd45_threshold(few, LEVELS) == (60.0, "background")


def test_cd45_without_background_is_judged_by_the_noise():
    assert cd45_threshold(np.zeros(0), CD45Levels((9, 9), ((0.0,),), 6.0)) == (24.0, "background")


def test_cd45_of_two_kinds_is_split_in_the_valley():
    value, source = cd45_threshold(np.concatenate([lognormal(80, 30), lognormal(2000, 200, 1)]), LEVELS)
    assert source == "valley"
    assert 150 < value < 1000


def test_cd45_levels_see_the_slide_through_the_cells():
    rng = np.random.default_rng(0)
    ramp = 100 + np.linspace(0, 60, 1024)[None, :] + np.zeros((1024, 1))
    image = ramp + rng.normal(0, 5, ramp.shape)
    image[::64, ::64] += 1000  # specks
    image[256:512, 256:512] += 800  # a block full of cells
    levels = CD45LevelsPass((1024, 1024))
    image = np.clip(image, 0, None).astype(np.uint16)
    for y in (512, 0):
        for x in (0, 512):
            levels.add(image[y : y + 512, x : x + 512], (x, y))
    result = levels.result()
    assert result.noise == pytest.approx(5, rel=0.1)
    assert result.background_at(900, 200) == pytest.approx(100 + 60 * 200 / 1023, abs=6)
    assert result.background_at(384, 384) == pytest.approx(100 + 60 * 384 / 1023, abs=16)
    assert CD45Levels.from_dict(result.to_dict()) == result


def test_cd45_levels_of_part_of_a_field_are_refused():
    levels = CD45LevelsPass((600, 300))
    levels.add(np.zeros((300, 512), np.uint8), (0, 0))
    with pytest.raises(ValueError, match="2 of 6 blocks were never given"):
        levels.result()


def test_cep8_between_grain_and_signals():
    grain, signals = lognormal(10, 200, 2), lognormal(300, 100, 3)
    nuclei = [[*signals[2 * i : 2 * i + 2], *grain[4 * i : 4 * i + 4]] for i in range(50)]
    value, source = cep8_threshold(nuclei, [200.0] * 50)
    assert source == "valley"
    assert 35 < value < 150


def test_cep8_of_signals_alone_is_a_part_of_them():
    assert cep8_threshold([[400.0, 300.0], [380.0], []], [200.0] * 3) == (97.5, "brightest")


@pytest.mark.parametrize("nuclei", [[], [[]], [[10.0, 12.0, 9.0]] * 40, [[-4.0]] * 3])
def test_cep8_of_a_probe_that_failed_counts_nothing(nuclei):
    value, source = cep8_threshold(nuclei, [200.0] * len(nuclei))
    assert (value, source) == (40.0 if nuclei else 0.0, "nucleus")


def test_thresholds_survive_their_dict():
    pixels = np.random.default_rng(0).normal(100, 5, (3, 64, 64)).astype(np.float32)
    from ctc_mm.imaging.io import field_from_arrays
    from ctc_mm.imfish import classify_field

    field = field_from_arrays(dict(zip(("dapi", "cep8", "cd45"), pixels, strict=True)), um_per_px=0.25)
    thresholds = classify_field(field).thresholds
    assert ImFISHThresholds.from_dict(thresholds.to_dict()) == thresholds


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"mode": "best"}, "`mode` must be one of full, paper. Received: 'best'"),
        ({"method": "otsu"}, "`method` must be one of robust, paper, learned"),
        ({"min_signals": 0}, "`min_signals` must be a whole number of at least 1"),
        ({"min_signals": 2.5}, "`min_signals` must be a whole number of at least 1"),
        ({"min_signals": float("nan")}, "`min_signals` must be a whole number of at least 1"),
        ({"min_signals": None}, "`min_signals` must be a number. Received: None"),
        ({"cd45_threshold": "abc"}, "`cd45_threshold` must be a number. Received: 'abc'"),
        ({"max_edge_um": True}, "`max_edge_um` must be a number. Received: True"),
        ({"ring_gap_um": -0.1}, "`ring_gap_um` must be a finite number of at least 0"),
        ({"cd45_threshold": float("nan")}, "`cd45_threshold` must be a finite number"),
        ({"ring_width_um": 0}, "`ring_width_um` must be a finite number above 0"),
        ({"min_diameter_um": 30.0}, "below `max_diameter_um`"),
    ],
)
def test_settings_that_cannot_be(choice, message):
    with pytest.raises(ValueError, match=message):
        ImFISHSettings(**choice)


def test_given_thresholds_are_taken():
    from imfish_images import one_of_each

    settings = ImFISHSettings(cd45_threshold=5000.0, cep8_threshold=10_000.0)
    records = classify_nuclei(*one_of_each().channels(), um_per_px=0.25, settings=settings)
    reasons = {record.reason for record in records}
    assert "cep8_0" in reasons
    assert not reasons & {"ctc", "cd45_positive"}
