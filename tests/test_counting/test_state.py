"""What is kept of a slide, and when it still counts."""

import dataclasses
import os

import numpy as np
import pytest
import tifffile

from ctc_mm.counting import units
from ctc_mm.counting.records import Overview, SlideSpec
from ctc_mm.counting.route import FirstPass, SlidePlan
from ctc_mm.counting.state import SlideState, slide_facts
from ctc_mm.counting.units import Unit
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field_list import FieldSource

IDENTITY = {"threshold": 0.1 + 0.2, "classes": ("CTC", "WBC")}
LEVELS = {"noise": 1 / 3, "flags": [True, False], "none": None}


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"pixels")
    return SlideSpec("a", FieldSource("a", "a.tif", {"": path}))


@pytest.fixture
def plan(spec, monkeypatch):
    """Five tiles, two a unit."""
    monkeypatch.setattr(units, "UNIT_PX", 2 * 10 * 10)
    return SlidePlan(spec, (50, 10), 5, 10, {})


@pytest.fixture
def begun(tmp_path, spec, plan):
    """A state with a first pass and the first unit."""
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    state.begin()
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    state.save_first_pass(plan, FirstPass(LEVELS, Overview(rgb, 0.125)))
    state.save_unit(plan, Unit(0, 2), [{"score": 1 / 7}, {"score": 2 / 7}])
    return rgb


def test_nothing_is_known_of_a_new_slide(tmp_path, spec, plan):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    assert state.changed == ()
    assert not state.was_counted
    assert state.first_pass() is None
    assert state.done("key") is None
    assert [unit.first for unit in state.units_left(plan)] == [0, 2, 4]
    assert not (tmp_path / "out").exists()  # looking leaves nothing


def test_what_was_kept_is_read_back_to_the_last_bit(tmp_path, spec, plan, begun):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    first = state.first_pass()
    assert first.levels == LEVELS
    assert first.overview.scale == 0.125
    assert np.array_equal(first.overview.rgb, begun)
    assert [(unit.first, unit.stop) for unit in state.units_left(plan)] == [(2, 4), (4, 5)]
    state.save_unit(plan, Unit(2, 4), [{}, {}])
    state.save_unit(plan, Unit(4, 5), [{"score": 3 / 7}])
    results = list(SlideState(tmp_path / "out", spec, IDENTITY).results(plan))
    assert [(one.slide, one.tile) for one in results] == [("a", tile) for tile in range(5)]
    assert [one.payload.get("score") for one in results] == [1 / 7, 2 / 7, None, None, 3 / 7]


def test_units_of_another_cut_do_not_count(tmp_path, spec, plan, begun):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    other = dataclasses.replace(plan, tile_px=25, n_tiles=2)
    assert [unit.first for unit in state.units_left(other)] == [0, 1]
    assert state.first_pass() is not None


@pytest.mark.parametrize("change", ["threshold", "file", "pixel size", "channels"])
def test_another_route_or_slide_starts_anew(tmp_path, spec, plan, begun, change):
    identity = IDENTITY
    if change == "threshold":
        identity = {**IDENTITY, "threshold": 0.4}
    elif change == "file":
        os.utime(tmp_path / "a.tif", ns=(1, 1))
    elif change == "pixel size":
        spec = dataclasses.replace(spec, um_per_px=0.5)
    else:
        spec = dataclasses.replace(spec, source=dataclasses.replace(spec.source, channels={"dapi": 1}))
    state = SlideState(tmp_path / "out", spec, identity)
    assert len(state.changed) == 1
    assert not state.was_counted  # it was begun
    assert state.first_pass() is None
    state.begin()
    assert [unit.first for unit in state.units_left(plan)] == [0, 2, 4]
    assert SlideState(tmp_path / "out", spec, identity).changed == ()


@pytest.mark.parametrize("change", [{"patient": "P1"}, {"volume_ml": 2.0}, {"role": "blank"}])
def test_what_weighs_the_count_leaves_the_measurement(tmp_path, spec, begun, change):
    state = SlideState(tmp_path / "out", dataclasses.replace(spec, **change), IDENTITY)
    assert state.changed == ()
    assert state.first_pass() is not None


def test_changes_are_told_by_name(tmp_path, spec, begun):
    state = SlideState(tmp_path / "out", spec, {"threshold": 0.5, "classes": ["CTC"], "weights": "x" * 100})
    assert state.changed == (
        'route.classes: ["CTC", "WBC"] -> ["CTC"]',
        "route.threshold: 0.30000000000000004 -> 0.5",
        f'route.weights: null -> "{"x" * 56}...',
    )


def test_finished_slide_whose_file_is_gone_is_not_finished(tmp_path, spec, begun):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    card = tmp_path / "out" / "a" / "count.json"
    card.parent.mkdir()
    card.write_text("{}")
    state.save_done("outputs", [card], {"counts": {"CTC": 2}})
    assert state.done("outputs") == {"counts": {"CTC": 2}}
    assert state.done("other outputs") is None
    card.write_text("{")
    assert state.done("outputs") is None
    card.unlink()
    assert state.done("outputs") is None


def test_unit_that_was_taken_away_while_running_is_named(tmp_path, spec, plan, begun):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    with pytest.raises(SlideError, match=r"unit-000002\.json: is gone"):
        list(state.results(plan))


def read_everything(tmp_path, spec, plan):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    return state.first_pass(), state.units_left(plan), state.done("key")


DAMAGED = {"empty": b"", "no key": b"{}", "list": b"[]", "null": b"null", "other": b'{"key": 1}', "binary": b"\xff\x00"}


@pytest.mark.parametrize("content", [*DAMAGED.values(), b"[" * 100_000], ids=[*DAMAGED, "deep"])
@pytest.mark.parametrize("name", ["slide.json", "first_pass.json", "unit-000000.json", "done.json"])
def test_damaged_state_is_named_with_the_cure(tmp_path, spec, plan, begun, name, content):
    SlideState(tmp_path / "out", spec, IDENTITY).save_done("key", [], {})
    (tmp_path / "out" / ".state" / "a" / name).write_bytes(content)
    with pytest.raises(SlideError, match=rf"{name}: is damaged \(.*\); delete the folder .*a and run again"):
        read_everything(tmp_path, spec, plan)


def test_lost_overview_is_named(tmp_path, spec, begun):
    (tmp_path / "out" / ".state" / "a" / "overview.png").unlink()
    with pytest.raises(SlideError, match=r"overview\.png: is damaged; delete the folder"):
        SlideState(tmp_path / "out", spec, IDENTITY).first_pass()


def test_damaged_overview_is_named(tmp_path, spec, begun):
    state = SlideState(tmp_path / "out", spec, IDENTITY)
    (state.folder / "overview.png").write_bytes(b"")
    with pytest.raises(SlideError, match=r"overview\.png: is damaged; delete the folder"):
        state.first_pass()


def folder_slide(folder):
    """A folder of two chunks of one size."""
    spec = SlideSpec("z", FieldSource("z", "slide.zarr", {"": folder}))
    (folder / "0").mkdir(parents=True)
    for name, content in (("a", b"123"), ("b", b"456")):
        (folder / "0" / name).write_bytes(content)
        os.utime(folder / "0" / name, ns=(5, ord(name)))
    return spec


def swap(folder):
    """As by ``mv``: sizes and times go along."""
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")


def replace_by_older(folder):
    """As by ``cp -p``."""
    (folder / "a").write_bytes(b"789")
    os.utime(folder / "a", ns=(5, 1))


@pytest.mark.parametrize("change", [swap, replace_by_older, lambda folder: (folder / "empty").touch()])
def test_facts_of_a_folder_are_those_of_each_of_its_files(tmp_path, change):
    spec = folder_slide(tmp_path / "slide.zarr")
    former = slide_facts(spec, {})
    assert former["files"][0][:2] == ["slide.zarr", 6]
    os.utime(tmp_path / "slide.zarr" / "0", ns=(9, 9))
    assert slide_facts(spec, {}) == former
    change(tmp_path / "slide.zarr" / "0")
    assert slide_facts(spec, {})["files"] != former["files"]


def write_ome_set(folder):
    """Two channels in two files; the metadata of each names both."""
    planes = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstC="{c}"><UUID FileName="set_c{c}.ome.tif">urn:uuid:0000-{c}</UUID>'
        "</TiffData>"
        for c in range(2)
    )
    pixels = 'DimensionOrder="XYCZT" ID="Pixels:0" SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8"'
    for place in range(2):
        header = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0000-{place}">'
        text = f'{header}<Image ID="Image:0"><Pixels {pixels}>{planes}</Pixels></Image></OME>'
        image = np.full((8, 8), place, np.uint8)
        tifffile.imwrite(folder / f"set_c{place}.ome.tif", image, description=text, metadata=None)
    return folder / "set_c0.ome.tif"


def test_facts_of_a_tiff_set_are_those_of_all_its_files(tmp_path):
    first = write_ome_set(tmp_path)
    spec = SlideSpec("set", FieldSource("set", first.name, {"": first}))
    former = slide_facts(spec, {})
    assert [name for name, _, _ in former["files"]] == ["set_c0.ome.tif", "set_c1.ome.tif"]
    os.utime(tmp_path / "set_c1.ome.tif", ns=(5, 7))
    assert slide_facts(spec, {})["files"][1][2] == 7
    assert slide_facts(spec, {})["files"][0] == former["files"][0]
