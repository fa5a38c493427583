"""The runner on a small route of its own: results, resuming, slides that fail alone, full disks."""

import dataclasses
import json
import resource

import cv2
import numpy as np
import pytest
from bright_pixels import NAME, write_slide_image

from ctc_mm.counting import units
from ctc_mm.counting.outputs import OutputOptions
from ctc_mm.counting.performance import DETECTION, Performance
from ctc_mm.counting.progress import Silent
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.run import count_slides
from ctc_mm.counting.slide_list import find_slides
from ctc_mm.counting.spike_in import known_recovery
from ctc_mm.errors import ConfigError, SlideError

NO_REPORT = OutputOptions(report=False)
CELLS = {"a": [(3, 5), (40, 33), (89, 69)], "b": [], "c": [(31, 31), (32, 32)]}


class Told(Silent):
    """Keeps the remarks."""

    def __init__(self):
        self.lines = []

    def slide_done(self, line):
        self.lines.append(line)

    def tell(self, line):
        self.lines.append(line)


@pytest.fixture
def slides(tmp_path):
    for name, cells in CELLS.items():
        write_slide_image(tmp_path / "slides" / f"{name}.png", cells)
    return tmp_path / "slides"


@pytest.fixture
def small_units(monkeypatch):
    """Two tiles of 32 px a unit: nine tiles are five units."""
    monkeypatch.setattr(units, "UNIT_PX", 2 * 32 * 32)


@pytest.fixture
def count(slides, tmp_path):
    """Count the slides into ``tmp_path/out`` with these settings; what the route did is in ``log``."""

    def run(out="out", given=slides, progress=None, outputs=NO_REPORT, **settings):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        route = RouteSpec(NAME, {"log": str(log), **settings})
        return count_slides(given, route, tmp_path / out, progress=progress, outputs=outputs)

    return run


def tiles_measured(tmp_path):
    log = tmp_path / "log"  # missing where the route built before was used, and did nothing
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(line.split()[2:]) for line in lines if " tile " in line]


def all_bytes(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".state" not in path.parts
    }


def test_no_slides(tmp_path):
    with pytest.raises(SlideError, match="no slide is given"):
        count_slides([], RouteSpec(NAME, {}), tmp_path / "out")


def test_every_slide_is_counted_and_written(count, tmp_path):
    result = count(outputs=OutputOptions())
    assert [(one.name, one.counts["CTC"]) for one in result.slides] == [("a", 3), ("b", 0), ("c", 2)]
    assert result.is_complete
    assert result.failed == ()
    files = {path.name for path in (tmp_path / "out" / "a").iterdir()}
    kinds = {"detections.csv", "cells.geojson", "cells.coco.json", "count.json", "overview.png", "report.html"}
    assert files == kinds
    assert {"slides.csv", "patients.csv", "summary.json", "summary.md"} <= {path.name for path in result.summary_files}
    assert all(path.is_file() for path in result.summary_files)
    card = json.loads((tmp_path / "out" / "a" / "count.json").read_text())
    assert card["ctc"]["count"] == 3
    image = cv2.imread(str(tmp_path / "out" / "a" / "overview.png"))
    assert image.shape == (70, 90, 3)
    assert image[5, 3].tolist() == [250, 250, 250]


def test_results_do_not_depend_on_tiles_or_units(count, tmp_path, small_units):
    for out, tile_px in (("small", 32), ("large", 64), ("whole", 4096)):
        count(out, tile_px=tile_px)
    assert len(all_bytes(tmp_path / "small")) >= 15
    assert all_bytes(tmp_path / "small") == all_bytes(tmp_path / "large") == all_bytes(tmp_path / "whole")


def test_finished_slides_are_not_repeated(count, tmp_path):
    count()
    before = all_bytes(tmp_path / "out")
    result = count(sleep_s=0)  # another route object; nothing that decides
    assert tiles_measured(tmp_path) == []
    assert [one.kept for one in result.slides] == [True, True, True]
    assert [one.counts["CTC"] for one in result.slides] == [3, 0, 2]
    assert "3 of them by an earlier run" in next(result.lines())
    assert all_bytes(tmp_path / "out") == before


def test_stopped_run_goes_on_where_it_was(count, tmp_path, small_units):
    with pytest.raises(KeyboardInterrupt):
        count(interrupt_after=9 + 6)
    finished = all_bytes(tmp_path / "out")
    assert {name.split("/")[0] for name in finished} == {"a"}  # whole, and no file of the one in work
    assert "a/count.json" in finished
    result = count()
    # Of b the units of tiles 0-1 and 2-3 were kept; tile 4 was measured and its unit not finished.
    assert tiles_measured(tmp_path) == [("b", str(tile)) for tile in range(4, 9)] + [("c", str(n)) for n in range(9)]
    assert "first b" not in (tmp_path / "log").read_text()
    assert [one.kept for one in result.slides] == [True, False, False]
    count("straight")
    assert all_bytes(tmp_path / "out") == all_bytes(tmp_path / "straight")


def test_changed_settings_start_anew_and_say_so(count, tmp_path):
    count()
    told = Told()
    result = count(above=200, progress=told)
    assert len(tiles_measured(tmp_path)) == 27
    assert "a: counted anew, since this has changed: route.above: 120 -> 200" in told.lines
    assert [one.kept for one in result.slides] == [False, False, False]


def test_slide_that_only_failed_is_not_said_to_be_counted_anew(count, slides, tmp_path):
    (slides / "c.png").write_bytes(b"no image")
    assert [one.name for one in count().failed] == ["c"]
    write_slide_image(slides / "c.png", [(1, 1)])
    told = Told()
    count(progress=told)
    (line,) = [line for line in told.lines if "this has changed" in line]
    assert line.startswith("c: not counted before, begun anew, since this has changed: files")


def test_performance_that_does_not_fit_and_a_recovery_above_1_are_told(count):
    other = Performance(DETECTION, "WBC", 0.5, "frozen", "validation", 45, 50, 3, 0, 200, "metrics.json")
    result = count(outputs=OutputOptions(report=False, performance=other, recovery=known_recovery(1.5)))
    notes = [line for line in result.lines() if line.startswith("note: ")]
    assert notes == [
        "note: the given recovery of 1.5 is above 1, as if more cells were found than added",
        "note: a, b, c: the count is not corrected (--performance): tested on class 'WBC', counted is 'CTC'",
    ]
    assert result.is_complete


def test_changed_slide_is_counted_anew_and_its_old_result_does_not_outlive_it(count, slides, tmp_path):
    count()
    write_slide_image(slides / "c.png", [(1, 1)], size_wh=(91, 70))
    told = Told()
    result = count(progress=told)
    assert [(one.counts["CTC"], one.kept) for one in result.slides] == [(3, True), (0, True), (1, False)]
    assert any(line.startswith("c: counted anew, since this has changed: files") for line in told.lines)
    (slides / "c.png").write_bytes(b"no image")
    result = count()
    assert [one.name for one in result.failed] == ["c"]
    assert not (tmp_path / "out" / "c" / "count.json").exists()


def test_what_a_killed_run_left_half_written_is_removed(count, tmp_path):
    count()
    whole = all_bytes(tmp_path / "out")
    (tmp_path / "out" / ".state" / "b" / "done.json").unlink()
    for name in ("b/.report.0123abcd.html", "b/.detections.0123abcd.csv"):
        (tmp_path / "out" / name).write_text("half")
    (tmp_path / "out" / ".state" / "b" / ".unit-000000.0123abcd.json").write_text("{")
    assert count().is_complete
    assert all_bytes(tmp_path / "out") == whole
    assert not list((tmp_path / "out" / ".state" / "b").glob(".*"))


def test_other_outputs_are_written_without_measuring_again(count, tmp_path):
    count()
    result = count(outputs=OutputOptions(table="parquet", report=False), sleep_s=0)
    assert tiles_measured(tmp_path) == []
    assert [one.kept for one in result.slides] == [False] * 3
    files = {path.name for path in (tmp_path / "out" / "a").iterdir()}
    assert "detections.parquet" in files
    assert "detections.csv" not in files


def test_patient_is_written_without_measuring_again(count, slides, tmp_path):
    count()
    specs = [dataclasses.replace(spec, patient="P7") for spec in find_slides([slides])]
    count(given=specs)
    assert tiles_measured(tmp_path) == []
    assert json.loads((tmp_path / "out" / "a" / "count.json").read_text())["slide"]["patient"] == "P7"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nno more"], ids=["empty", "truncated"])
def test_corrupt_slide_fails_alone_and_is_named(count, slides, content):
    (slides / "b.png").write_bytes(content)
    told = Told()
    result = count(progress=told)
    assert [(one.name, one.error is None) for one in result.slides] == [("a", True), ("b", False), ("c", True)]
    assert "b.png" in result.failed[0].error
    assert not result.is_complete
    assert any(line.startswith("failed: b: ") for line in result.lines())
    assert any(line.startswith("b: FAILED: ") for line in told.lines)


def test_slide_that_does_not_fit_fails_alone(count, slides):
    write_slide_image(slides / "b.png", [], size_wh=(1, 50))
    result = count()
    assert [one.error for one in result.slides] == [None, "slide b: is 1 px wide; scan it again", None]


def test_slide_on_which_the_route_breaks_fails_alone(count, tmp_path, small_units):
    result = count(raise_on="b")
    assert [one.error for one in result.slides] == [None, "KeyError: 'poison'", None]
    count("straight")
    whole = all_bytes(tmp_path / "straight")
    rest = {name: data for name, data in all_bytes(tmp_path / "out").items() if name.startswith(("a/", "c/"))}
    assert rest == {name: data for name, data in whole.items() if name.startswith(("a/", "c/"))}


def test_full_disk_names_the_file_and_leaves_no_half_of_it(count, slides, tmp_path):
    noise = np.random.default_rng(0).integers(0, 100, (300, 300), dtype=np.uint8)
    cv2.imwrite(str(slides / "b.png"), noise)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        result = count()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.error is None for one in result.slides] == [True, False, True]
    assert "overview.png: cannot be written (File too large)" in result.failed[0].error
    assert [path for path in (tmp_path / "out").rglob(".*.png") if path.is_file()] == []
    assert count().is_complete


def test_results_folder_that_is_a_file(count, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="out"):
        count()


def test_failed_slides_are_in_the_tables(count, slides, tmp_path):
    (slides / "b.png").write_bytes(b"")
    count()
    rows = (tmp_path / "out" / "slides.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["slide", "a", "c", "b"]
    assert "b.png" in rows[-1]


def test_slides_of_other_runs_are_told_and_not_in_the_tables(count, slides, tmp_path):
    count(given=slides / "a.png")
    told = Told()
    count(given=slides / "b.png", progress=told)
    assert told.lines[-1].endswith("also holds slides of other runs, which its tables leave out: a")
    assert [row.split(",")[0] for row in (tmp_path / "out" / "slides.csv").read_text().splitlines()] == ["slide", "b"]
    assert (tmp_path / "out" / "a" / "count.json").is_file()


def test_recovery_without_spike_ins_is_refused_before_counting(count, tmp_path):
    with pytest.raises(SlideError, match="no slide has the role 'spike_in'"):
        count(outputs=OutputOptions(recovery="measured"))
    assert tiles_measured(tmp_path) == []


def test_recovery_measured_by_spike_ins_is_applied_to_patients(count, slides, tmp_path):
    given = [
        dataclasses.replace(spec, role="spike_in", spiked=6) if spec.name == "a" else spec
        for spec in (dataclasses.replace(spec, volume_ml=2.0) for spec in find_slides([slides]))
    ]
    count(given=given, outputs=OutputOptions(report=False, recovery="measured"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    per_ml = {row["patient"]: row["ctc_per_ml"]["value"] for row in summary["patients"]}
    assert per_ml == {"(b)": 0.0, "(c)": pytest.approx(2 / 2.0 / (3 / 6))}


def test_two_slides_of_one_name(slides, tmp_path):
    spec = find_slides([slides / "a.png"])[0]
    with pytest.raises(SlideError, match=r"two slides are called 'A' .*a\.png"):
        count_slides([spec, dataclasses.replace(spec, name="A")], RouteSpec(NAME, {}), tmp_path / "out")


@pytest.mark.parametrize("name", ["slides.csv", "Index.html", "summary.png", "../a", ".state", "x" * 121, "a\nb", "a."])
def test_names_that_no_folder_of_results_can_have(slides, tmp_path, name):
    spec = dataclasses.replace(find_slides([slides / "a.png"])[0], name=name)
    with pytest.raises(SlideError, match="no folder of results can be called"):
        count_slides([spec], RouteSpec(NAME, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_paths_and_described_slides_do_not_mix(slides, tmp_path):
    spec = find_slides([slides / "a.png"])[0]
    with pytest.raises(TypeError, match="not both"):
        count_slides([spec, slides / "b.png"], RouteSpec(NAME, {}), tmp_path / "out")


@pytest.mark.parametrize("name", ["detcet", "no_such_module:Route", "bright_pixels:NoSuchRoute"])
def test_unknown_route(slides, tmp_path, name):
    with pytest.raises(ConfigError, match="Received|cannot be imported"):
        count_slides(slides, RouteSpec(name, {}), tmp_path / "out")


def test_workers_beside_a_scheduler(slides, tmp_path):
    with pytest.raises(ValueError, match="`workers` must be 0 or more, and 0 beside `scheduler`"):
        count_slides(slides, RouteSpec(NAME, {}), tmp_path / "out", workers=2, scheduler="tcp://nowhere:1")


def test_damaged_state_is_named_with_the_cure(count, tmp_path):
    count()
    state = tmp_path / "out" / ".state" / "b" / "done.json"
    state.write_text("{")
    result = count()
    assert [one.name for one in result.failed] == ["b"]
    assert "done.json: is damaged" in result.failed[0].error
    assert "delete the folder" in result.failed[0].error


def test_route_is_built_once_for_the_same_settings(count, tmp_path):
    count(above=121)
    assert (tmp_path / "log").read_text().count("build") == 1


def test_incomplete_slide_is_told(count, monkeypatch):
    import bright_pixels

    from ctc_mm.counting.records import AnalysedArea, Drop

    finish = bright_pixels.BrightPixels.finish

    def lossy(self, plan, first, results):
        drop = Drop("block", "tile 3 cannot be decoded", 1, 256, ((0, 0, 16, 16),))
        area = AnalysedArea(90 * 70 - 256, 0, 256)
        return dataclasses.replace(finish(self, plan, first, results), area=area, drops=(drop,))

    monkeypatch.setattr(bright_pixels.BrightPixels, "finish", lossy)
    result = count()
    assert [one.complete for one in result.slides] == [False] * 3
    assert not result.is_complete
    assert "incomplete: a: 4.06% of the slide was not looked at (tile 3 cannot be decoded)" in list(result.lines())


def test_slide_of_which_nothing_can_be_looked_at_is_no_count_of_zero(count, monkeypatch, tmp_path):
    import bright_pixels

    from ctc_mm.counting.records import AnalysedArea, Drop

    finish = bright_pixels.BrightPixels.finish

    def blind(self, plan, first, results):
        found = finish(self, plan, first, results)
        if plan.spec.name != "b":
            return found
        drop = Drop("block", "pixels are not finite", 1, 90 * 70, ((0, 0, 90, 70),))
        return dataclasses.replace(found, area=AnalysedArea(0, 0, 90 * 70), drops=(drop,))

    monkeypatch.setattr(bright_pixels.BrightPixels, "finish", blind)
    result = count()
    assert [one.error for one in result.slides] == [
        None, "slide b: nothing of it could be looked at: pixels are not finite", None,
    ]  # fmt: skip
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["slides"]
    assert [(row["slide"], row["status"], row.get("ctc")) for row in rows] == [
        ("a", "complete", 3), ("c", "complete", 2), ("b", "failed", None),
    ]  # fmt: skip
    assert not (tmp_path / "out" / "b").exists()


def test_recovery_that_spike_ins_cannot_give_is_told_and_ends_incomplete(count, slides):
    given = [
        dataclasses.replace(spec, role="spike_in", spiked=6) if spec.name == "b" else spec
        for spec in find_slides([slides])
    ]
    result = count(given=given, outputs=OutputOptions(report=False, recovery="measured"))
    assert (result.failed, result.incomplete, result.is_complete) == ((), (), False)
    told = [line for line in result.lines() if line.startswith("problem: ")]
    assert len(told) == 1
    assert "recovery could not be measured, so numbers per mL are not corrected" in told[0]
    assert "no added cell was found" in told[0]
