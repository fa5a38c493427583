"""Placement of discs: apart, touching, and honest about what found no room."""

import numpy as np
import pytest

from ctc_mm.phantoms.placement import place_discs


def distances(centres, radii):
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2) - radii[:, None] - radii[None]
    np.fill_diagonal(gaps, np.inf)
    return gaps


def test_nothing_to_place():
    centres, placed = place_discs(np.zeros(0), (50, 40), 0.5, np.random.default_rng(0))
    assert centres.shape == (0, 2)
    assert placed.shape == (0,)


def test_separate_discs_keep_their_gap_and_stay_in_the_field():
    radii = np.random.default_rng(1).uniform(4, 12, 30)
    centres, placed = place_discs(radii, (500, 300), 0.0, np.random.default_rng(2), gap_px=3)
    assert placed.all()
    assert distances(centres, radii).min() >= 3 - 1e-3
    assert (centres >= radii[:, None] / 3 - 1e-3).all()
    assert (centres <= np.array([300, 500]) - radii[:, None] / 3 + 1e-3).all()


def test_touching_discs_touch_and_do_not_cover_each_other():
    radii = np.full(25, 8.0)
    centres, placed = place_discs(radii, (600, 600), 1.0, np.random.default_rng(3))
    gaps = distances(centres[placed], radii[placed])
    assert placed.sum() >= 20
    assert (gaps.min(axis=1) <= 0).all(), "each touches another"
    assert gaps.min() >= -0.08 * 16 - 1e-3


def test_a_full_field_reports_what_found_no_room():
    radii = np.full(200, 10.0)
    centres, placed = place_discs(radii, (100, 100), 0.0, np.random.default_rng(4))
    assert 5 < placed.sum() < 40
    assert np.isnan(centres[~placed]).all()
    assert np.isfinite(centres[placed]).all()


@pytest.mark.parametrize("radius", [40.0, 200.0])
def test_a_disc_larger_than_the_field_is_not_forced_in(radius):
    _, placed = place_discs(np.array([radius]), (20, 20), 0.0, np.random.default_rng(5))
    assert not placed.any()
