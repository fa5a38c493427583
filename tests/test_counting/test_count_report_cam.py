"""Grad-CAM of counted cells: the network sees again what it saw, and maps lie on the slide where it looked."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cell_slides import count, spec_of, write_slide

from ctc_mm.counting.report import cam
from ctc_mm.counting.report.cam import choose_explained, explain_count
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.errors import ConfigError
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

sys.path.insert(0, str(Path(__file__).parent / "test_engines"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_engine"))

from process_state import process_state_kept  # noqa: E402
from tiny_engines import draw_windows, write_classifier, write_detector  # noqa: E402

WINDOW_PX, CROP_PX = 48, 24


@pytest.fixture(scope="module", autouse=True)
def process_state():
    with process_state_kept():
        yield


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """Route and count of a slide at the model's pixel size."""
    folder = tmp_path_factory.mktemp("detect")
    settings = {**write_detector(folder, seed=3), "max_cell_um": 11.5, "overlap_px": 24, "batch_size": 4}
    image = draw_windows(1, side=110, seed=4)[0][..., 0]
    route = RouteSpec("detect", settings)
    path = write_slide(folder / "slide.ome.tif", [image], ("brightfield",), 0.5)
    return route, count(build_route(route), spec_of(path))


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    settings = {**write_classifier(folder), "crop_px": CROP_PX, "crop_normalize": "cells", "max_cell_um": 20.0}
    config = BrightfieldPhantomConfig(image_wh=(300, 260), um_per_px=1.0, ctc_count=(6, 6), wbc_count=(14, 14))
    image = generate_field(config, np.random.default_rng(3), blank=False).image
    route = RouteSpec("classify", settings)
    path = write_slide(folder / "slide.ome.tif", [image], ["brightfield"], 1.0)
    return route, count(build_route(route), spec_of(path))


def holds(region, cell):
    (x0, y0, x1, y1), (x, y) = region, cell.centre_xy
    return x0 <= x <= x1 and y0 <= y <= y1


def test_detected_cells_are_explained_in_their_windows(detected):
    route, found = detected
    cams, note = explain_count(found, route, most=5)
    assert list(cams) == choose_explained(found, 5)
    assert note.startswith("Grad-CAM of 5 cells, the best CTC and those nearest to the threshold")
    for place, one in cams.items():
        x0, y0, x1, y1 = one.region_xyxy
        assert (x1 - x0, y1 - y0) == (WINDOW_PX, WINDOW_PX)
        assert (x0 % (WINDOW_PX - 24), y0 % (WINDOW_PX - 24)) == (0, 0)
        assert holds(one.region_xyxy, found.cells[place])
        assert one.cam.shape == (WINDOW_PX, WINDOW_PX)
        assert one.cam.max() == 1
    again, _ = explain_count(found, route, most=5)
    assert all(np.array_equal(cams[place].cam, again[place].cam) for place in cams)


def test_maps_of_a_resampled_slide_lie_on_the_slide(detected, tmp_path):
    route, _ = detected
    image = draw_windows(1, side=60, seed=4)[0][..., 0]
    path = write_slide(tmp_path / "coarse.ome.tif", [image], ("brightfield",), 1.0)
    route = RouteSpec("detect", {**route.settings, "resample": True})
    found = count(build_route(route), spec_of(path))
    cams, _ = explain_count(found, route, most=3)
    assert len(cams) == 3
    for place, one in cams.items():
        assert one.region_xyxy[2] - one.region_xyxy[0] == WINDOW_PX / 2
        assert holds(one.region_xyxy, found.cells[place])


def test_a_score_that_does_not_come_out_again_is_not_explained(detected, monkeypatch):
    route, found = detected
    first, second, *_ = choose_explained(found, 4)
    cells = list(found.cells)
    cells[first] = replace(cells[first], score=cells[first].score - 0.2)
    monkeypatch.setattr(cam, "choose_explained", lambda count, most: [first, second])
    cams, note = explain_count(replace(found, cells=tuple(cells)), route)
    assert list(cams) == [second]
    assert "Of 1 more the score did not come out again" in note


def test_classified_cells_are_explained_in_their_crops(classified):
    route, found = classified
    assert len(found.cells) > 8
    cams, note = explain_count(found, route, most=8)
    assert list(cams) == choose_explained(found, 8)
    assert "did not come out" not in note
    for place, one in cams.items():
        x0, y0, x1, y1 = one.region_xyxy
        assert (x1 - x0, y1 - y0) == (CROP_PX, CROP_PX)
        centre = found.cells[place].centre_xy
        assert np.hypot((x0 + x1) / 2 - centre[0], (y0 + y1) / 2 - centre[1]) < 3
        assert one.cam.max() in (0, 1)


def test_model_without_gradients(detected, monkeypatch):
    route, found = detected

    class Exported:
        engine = object()

    monkeypatch.setattr(cam, "build_route", lambda spec: Exported())
    cams, note = explain_count(found, route)
    assert cams == {}
    assert "exported graph, which has no gradients" in note


def test_model_that_cannot_be_explained_says_why(detected, monkeypatch):
    route, found = detected

    def refuse(*arguments):
        raise ConfigError("the head scores boxes in a way of its own")

    monkeypatch.setattr("ctc_mm.counting.report.cam_detect.explain_windows", refuse)
    assert explain_count(found, route) == ({}, "No Grad-CAM: the head scores boxes in a way of its own")


def test_a_copy_is_explained_since_the_model_may_be_at_work(detected, monkeypatch):
    # Hooks on the model itself would see what another thread asks of it.
    route, found = detected
    given = []
    monkeypatch.setattr(
        "ctc_mm.counting.report.cam_detect.explain_windows",
        lambda count, route, model, places, track: given.append(model) or {},
    )
    explain_count(found, route)
    own = build_route(route).engine.trained.model
    assert given[0] is not own
    shared = {id(part) for part in own.modules()} & {id(part) for part in given[0].modules()}
    assert shared == set()
    for name, values in own.state_dict().items():
        assert np.array_equal(values, given[0].state_dict()[name])
