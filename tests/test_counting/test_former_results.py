"""Results of an earlier run: kept where they are whole, gone where the slide is not finished."""

import errno
import shutil

import pytest
from bright_pixels import NAME, write_slide_image

from ctc_mm.counting import outputs
from ctc_mm.counting.outputs import OutputOptions
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.run import count_slides

NO_REPORT = OutputOptions(report=False)
CELLS = {"a": [(3, 5), (40, 33)], "b": [], "c": [(31, 31)]}


@pytest.fixture
def slides(tmp_path):
    for name, cells in CELLS.items():
        write_slide_image(tmp_path / "slides" / f"{name}.png", cells)
    return tmp_path / "slides"


@pytest.fixture
def count(slides, tmp_path):
    """Count the slides into ``tmp_path/out``; what the route did is in ``log``."""

    def run(outputs=NO_REPORT, **settings):
        (tmp_path / "log").unlink(missing_ok=True)
        route = RouteSpec(NAME, {"log": str(tmp_path / "log"), **settings})
        return count_slides(slides, route, tmp_path / "out", outputs=outputs)

    return run


def all_bytes(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".state" not in path.parts}


def test_former_results_do_not_outlive_a_slide_whose_state_is_gone(count, slides, tmp_path):
    count()
    shutil.rmtree(tmp_path / "out" / ".state" / "b")
    (slides / "b.png").write_bytes(b"")
    assert [one.name for one in count().failed] == ["b"]
    assert list((tmp_path / "out" / "b").iterdir()) == []


def test_former_results_do_not_outlive_a_failure_while_files_are_written(count, tmp_path, monkeypatch):
    count()
    kept = tmp_path / "out" / "b" / "notes.txt"
    kept.write_text("the lab's own")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "cells.geojson")

    monkeypatch.setattr(outputs, "write_geojson", full)
    result = count(outputs=OutputOptions(report=False, table="parquet"))
    assert [one.name for one in result.failed] == ["a", "b", "c"]
    assert list((tmp_path / "out" / "b").iterdir()) == [kept]
    monkeypatch.undo()
    assert count().is_complete


def test_a_run_killed_before_it_noted_the_end_leaves_no_result_to_another(count, tmp_path):
    count()
    (tmp_path / "out" / ".state" / "a" / "done.json").unlink()
    assert [one.name for one in count(above=130, raise_on="a").failed] == ["a"]
    assert list((tmp_path / "out" / "a").iterdir()) == []


@pytest.mark.parametrize(("name", "share"), [("detections.csv", 0), ("count.json", 0.5), ("count.json", 1)])
def test_a_damaged_result_is_written_again_without_measuring(count, tmp_path, name, share):
    count()
    whole, file = all_bytes(tmp_path / "out"), tmp_path / "out" / "c" / name
    file.write_bytes(b"{" * int(share * file.stat().st_size))
    result = count()
    assert [one.kept for one in result.slides] == [True, True, False]
    assert not (tmp_path / "log").exists() or " tile " not in (tmp_path / "log").read_text()
    assert all_bytes(tmp_path / "out") == whole
