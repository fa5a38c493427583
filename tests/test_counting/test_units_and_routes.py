"""Ranges of tiles; routes by name."""

import pytest

from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import RouteSpec, SlidePlan
from ctc_mm.counting.routes import ROUTES, build_route, check_name
from ctc_mm.counting.units import UNIT_PX, pixels_of, units_of
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.field_list import FieldSource


def plan_of(size_wh, tile_px):
    columns, rows = (-(-side // tile_px) for side in size_wh)
    return SlidePlan(SlideSpec("s", FieldSource("s", "s.tif", {})), size_wh, columns * rows, tile_px, {})


@pytest.mark.parametrize(
    ("size_wh", "tile_px", "tiles_of_units"),
    [
        ((1, 1), 2048, [1]),
        ((20_000, 20_000), 2048, [3] * 33 + [1]),
        ((20_000, 20_000), 512, [61] * 26 + [14]),
        ((20_000, 20_000), 20_000, [1]),
        ((1, 100_000), 1000, [100]),
    ],
    ids=["one pixel", "slide", "small tiles", "whole", "one pixel wide"],
)
def test_units_hold_every_tile_once(size_wh, tile_px, tiles_of_units):
    plan = plan_of(size_wh, tile_px)
    units = units_of(plan)
    assert [len(unit.tiles) for unit in units] == tiles_of_units
    assert [tile for unit in units for tile in unit.tiles] == list(range(plan.n_tiles))
    assert all(pixels_of(plan, unit) <= UNIT_PX or len(unit.tiles) == 1 for unit in units)


def test_a_route_is_built_once_for_the_same_settings():
    first = build_route(RouteSpec("bright_pixels:BrightPixels", {"above": 7}))
    assert build_route(RouteSpec("bright_pixels:BrightPixels", {"above": 7})) is first
    other = build_route(RouteSpec("bright_pixels:BrightPixels", {"above": 8}))
    assert other is not first
    assert (first.settings["above"], other.settings["above"]) == (7, 8)


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_every_route_of_the_table_is_there(name):
    import importlib

    module, _, class_name = ROUTES[check_name(name)].partition(":")
    route = getattr(importlib.import_module(module), class_name)
    assert {"identity", "plan", "first_pass", "measure", "finish"} <= set(dir(route))
    assert route.name == name


def test_unknown_names():
    with pytest.raises(ConfigError, match="must be one of detect, classify, imfish"):
        build_route(RouteSpec("segment", {}))
    with pytest.raises(ConfigError, match="cannot be imported"):
        build_route(RouteSpec("bright_pixels:Other", {}))
