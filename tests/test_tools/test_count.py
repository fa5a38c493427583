"""tools/count.py: exit codes, what is said, Ctrl-C; and each route on phantoms."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from ctc_mm.cli import run_cli

ROUTE = "bright_pixels:BrightPixels"


@pytest.fixture(scope="module")
def main(repo):
    """The tool's ``main``, in this process."""
    spec = importlib.util.spec_from_file_location("count_tool", repo / "tools" / "count.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def count(main, repo, tmp_path, monkeypatch, capsys):
    """Run the tool in ``tmp_path``, and give exit code, stdout and stderr; it finds the route of the runner's tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(repo / "tests" / "test_counting")

    def run(*arguments, route=ROUTE, out="out"):
        try:
            code = run_cli(main, [*arguments, "--route", route, "--out", out])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def slides(tmp_path):
    """``slides/a.png`` with three bright pixels, ``slides/b.png`` with none."""
    (tmp_path / "slides").mkdir()
    for name, cells in (("a", [(3, 5), (40, 33), (60, 60)]), ("b", [])):
        image = np.full((70, 90), 100, np.uint8)
        for x, y in cells:
            image[y, x] = 250
        cv2.imwrite(str(tmp_path / "slides" / f"{name}.png"), image)
    return tmp_path / "slides"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no slide is given"),
        (["slides", "--volume-ml", "-1"], "must be a finite number above 0. Received: -1"),
        (["slides", "--volume-ml", "7,5"], "must be a number with a point: 7.5. Received: 7,5"),
        (["slides", "--recovery", "0.8,0.9"], "must be a share"),
        (["slides", "--batch-size", "0"], "must be above 0"),
        (["slides", "--workers", "2", "--scheduler", "tcp://a:1"], "uses others: give one"),
        (["slides", "--table", "xlsx"], "invalid choice: 'xlsx'"),
    ],
    ids=["slides", "volume", "comma", "recovery", "batch", "machines", "table"],
)
def test_bad_usage(count, tmp_path, arguments, said):
    code, _, told = count(*arguments)
    assert code == 2
    assert said in told
    assert not (tmp_path / "out").exists()


def test_unknown_route_is_bad_usage(count):
    code, _, told = count("slides", route="detcet")
    assert code == 2
    assert "a route must be one of detect, classify, imfish" in told


def test_slides_are_counted(count, slides, tmp_path):
    code, result, told = count("slides", "--volume-ml", "2", "--patient", "P1", "--table", "parquet", "--no-report")
    assert code == 0
    assert "slides counted: 2 of 2" in result
    assert "[2/2] b: CTC 0, unidentified 0" in told
    with (tmp_path / "out" / "patients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("patient", "slides", "ctc", "ctc_per_ml")
    assert [tuple(row[name] for name in names) for row in rows] == [("P1", "2", "3", "0.75")]
    assert (tmp_path / "out" / "a" / "detections.parquet").is_file()
    assert not (tmp_path / "out" / "a" / "report.html").exists()


def test_a_table_of_slides(count, slides, tmp_path):
    (slides / "day.csv").write_text(
        "slide,name,patient,role,volume_ml,spiked\na.png,first,P1,patient,1,\nb.png,blank,,blank,1,\n"
    )
    assert count("--slides", "slides/day.csv", "--recovery", "0.5")[0] == 0
    card = json.loads((tmp_path / "out" / "first" / "count.json").read_text())
    assert card["slide"]["patient"] == "P1"
    assert card["ctc_per_ml"]["value"] == pytest.approx(6.0)
    assert (tmp_path / "out" / "blank" / "report.html").is_file()


def test_a_slide_that_fails_gives_code_1_and_the_others_are_counted(count, slides, tmp_path):
    (slides / "broken.png").write_bytes(b"")
    code, result, _ = count("slides", "--no-report")
    assert code == 1
    assert "slides counted: 2 of 3" in result
    assert "failed: broken: " in result
    assert "broken.png: the file is empty" in result
    assert (tmp_path / "out" / "b" / "count.json").is_file()
    with (tmp_path / "out" / "slides.csv").open(newline="") as file:
        assert {row["slide"]: row["status"] for row in csv.DictReader(file)}["broken"] == "failed"


def test_files_that_are_no_slides_are_told(count, slides):
    (slides / "scan.czi").write_bytes(b"")
    code, _, told = count("slides", "--no-report")
    assert code == 0
    assert "not a slide: microscope file of a kind that is not read" in told
    assert "scan.czi" in told


def test_what_is_wrong_before_counting_is_one_error_line(count, slides):
    code, _, told = count("slides", "nowhere.tif")
    assert code == 1
    assert told.splitlines()[-1].startswith("error: ")
    assert "nowhere.tif" in told
    code, _, told = count("slides", "--settings", "log=nowhere/log")  # the route itself cannot be built
    assert code == 1
    assert told.splitlines()[-1].startswith("error: nowhere/log: ")


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("which", "machines"),
    [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGINT, ["--workers", "1"])],
    ids=["ctrl-c", "slurm", "workers"],
)
def test_stopped_run_says_how_to_go_on_and_does(repo, count, slides, tmp_path, which, machines):
    paths = [str(repo), str(repo / "tests" / "test_counting")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(repo / "tools" / "count.py"), "slides", "--route", ROUTE, "--out", "out"]
    slow = subprocess.Popen(
        [*command, "--settings", "sleep_s=0.1", "--no-report", *machines],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    first = tmp_path / "out" / ".state" / "a" / "done.json"
    give_up = time.monotonic() + 60
    while not first.exists() and slow.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    os.killpg(slow.pid, which) if which == signal.SIGINT else slow.send_signal(which)  # a terminal tells all of them
    _, told = slow.communicate(timeout=60)
    assert slow.returncode == 1
    assert "stopped: finished slides are whole in out; the same command goes on from there" in told
    assert "Traceback" not in told
    assert (tmp_path / "out" / "a" / "count.json").is_file()
    assert not (tmp_path / "out" / "b").exists()
    code, result, told = count("slides", "--no-report")
    assert code == 0
    assert "a: CTC 3, unidentified 0 (finished before)" in told
    assert "1 of them by an earlier run" in result


def test_imfish_on_a_phantom(count, tmp_path):
    from ctc_mm.phantoms.imfish_slide import write_imfish_slide

    truth = write_imfish_slide(tmp_path / "slides" / "p1.ome.tif", (600, 600), seed=3, block_px=600, scenes=1)
    assert count("slides", route="imfish")[0] == 0
    card = json.loads((tmp_path / "out" / "p1" / "count.json").read_text())
    low, high = card["ctc"]["interval"]
    assert truth.is_ctc.sum() > 0
    assert low <= truth.is_ctc.sum() <= high
    assert (tmp_path / "out" / "p1" / "report.html").is_file()
