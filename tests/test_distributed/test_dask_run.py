"""A count on real worker processes: the same bytes as in one process where no network is asked, whoever dies."""

import dataclasses
import re
from functools import partial
from types import SimpleNamespace

import pytest
from bright_pixels import NAME, write_slide_image

from ctc_mm.counting import units
from ctc_mm.counting.outputs import OutputOptions
from ctc_mm.counting.progress import Silent
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.run import count_slides
from ctc_mm.counting.slide_list import find_slides
from ctc_mm.distributed import cluster, worker
from ctc_mm.distributed.cluster import cluster_of
from ctc_mm.distributed.worker import measure_here, prepare_here, versions_here
from ctc_mm.errors import SchedulerError

NO_REPORT = OutputOptions(report=False)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Six slides; one cannot be read."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(5):
        write_slide_image(folder / f"s{number}.png", [(7 * k + number, 11 * k) for k in range(number)])
    (folder / "s5.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def straight(slides, tmp_path_factory):
    """The files of a run in this process."""
    out = tmp_path_factory.mktemp("straight")
    result = count_slides(slides, RouteSpec(NAME, {}), out, outputs=NO_REPORT)
    assert [one.counts.get("CTC") for one in result.slides] == [0, 1, 2, 3, 4, None]
    return all_bytes(out)


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(units, "UNIT_PX", 2 * 32 * 32)


def all_bytes(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".state" not in path.parts
    }


def of_slides(files, names):
    return {name: data for name, data in files.items() if name.split("/")[0] in names}


def workers_in(log):
    return {line.split()[0] for line in log.read_text().splitlines() if " tile " in line}


def test_a_worker_killed_in_mid_run_is_survived(slides, straight, tmp_path, small_units):
    log, killed = tmp_path / "log", tmp_path / "killed"
    settings = {"log": str(log), "kill_once": ["s2", str(killed)], "sleep_s": 0.01}
    result = count_slides(slides, RouteSpec(NAME, settings), tmp_path / "out", outputs=NO_REPORT, workers=2)
    assert killed.exists()
    assert len(workers_in(log)) >= 2
    assert [one.name for one in result.failed] == ["s5"]
    assert "s5.png" in result.failed[0].error
    assert all_bytes(tmp_path / "out") == straight
    # Nothing is repeated after a restart.
    log.unlink()
    again = count_slides(slides, RouteSpec(NAME, settings), tmp_path / "out", outputs=NO_REPORT)
    assert [one.kept for one in again.slides] == [True] * 5 + [False]
    assert not log.exists() or workers_in(log) == set()


def test_a_slide_that_kills_its_workers_fails_alone(slides, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ALLOWED_FAILURES", 1)  # each death costs a new process
    result = count_slides(slides, RouteSpec(NAME, {"kill_on": "s3"}), tmp_path / "out", outputs=NO_REPORT, workers=2)
    assert [one.name for one in result.failed] == ["s3", "s5"]
    assert "2 workers died while they measured its tiles 0 to 8" in result.failed[0].error
    good = {"s0", "s1", "s2", "s4"}
    assert of_slides(all_bytes(tmp_path / "out"), good) == of_slides(straight, good)


def test_a_scheduler_that_is_there_already(slides, straight, tmp_path):
    with cluster_of(workers=1) as client:
        address = client.scheduler_info()["address"]
        settings = {"log": str(tmp_path / "log")}
        result = count_slides(slides, RouteSpec(NAME, settings), tmp_path / "out", outputs=NO_REPORT, scheduler=address)
        assert len(client.scheduler_info()["workers"]) == 1  # it goes on
    assert [one.name for one in result.failed] == ["s5"]
    assert all_bytes(tmp_path / "out") == straight
    # Once here, to plan and merge, and once on the worker.
    assert (tmp_path / "log").read_text().count(" build") == 2


def test_run_stopped_here_goes_on_there(slides, straight, tmp_path, small_units):
    with pytest.raises(KeyboardInterrupt):
        count_slides(slides, RouteSpec(NAME, {"interrupt_after": 14}), tmp_path / "out", outputs=NO_REPORT)
    log = tmp_path / "log"
    count_slides(slides, RouteSpec(NAME, {"log": str(log)}), tmp_path / "out", outputs=NO_REPORT, workers=1)
    measured = [line.split()[2:] for line in log.read_text().splitlines() if " tile " in line]
    assert ["s0", "0"] not in measured
    assert ["s1", "3"] not in measured
    assert ["s1", "4"] in measured
    assert all_bytes(tmp_path / "out") == straight


def test_a_real_route_gives_the_same_bytes_whatever_the_tiles(tmp_path, monkeypatch):
    from ctc_mm.phantoms.imfish_slide import write_imfish_slide

    slide = tmp_path / "slides" / "p1.ome.tif"
    write_imfish_slide(slide, (600, 600), seed=3, block_px=600, scenes=1)
    count_slides(slide, RouteSpec("imfish", {}), tmp_path / "here", outputs=NO_REPORT)
    monkeypatch.setattr(units, "UNIT_PX", 256 * 256)
    count_slides(slide, RouteSpec("imfish", {"tile_px": 256}), tmp_path / "there", outputs=NO_REPORT, workers=2)
    found = all_bytes(tmp_path / "here")
    assert len(found["p1/detections.csv"].splitlines()) > 5
    assert all_bytes(tmp_path / "there") == found


def test_a_scheduler_that_goes_is_told_and_the_same_call_goes_on(slides, straight, tmp_path, small_units):
    with cluster_of(workers=1) as client:

        class EndsIt(Silent):
            def slide_done(self, line):
                client.cluster.close()

        address, settings = client.scheduler_info()["address"], {"sleep_s": 0.1}
        with pytest.raises(SchedulerError, match="scheduler has gone or was restarted; finished slides"):
            count_slides(
                slides, RouteSpec(NAME, settings), tmp_path / "out", outputs=NO_REPORT, scheduler=address,
                progress=EndsIt(),
            )  # fmt: skip
    result = count_slides(slides, RouteSpec(NAME, settings), tmp_path / "out", outputs=NO_REPORT)
    assert any(one.kept for one in result.slides)
    assert not all(one.kept for one in result.slides[:5])
    assert all_bytes(tmp_path / "out") == straight


def test_no_scheduler_at_the_address(slides, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(SchedulerError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        count_slides(slides, RouteSpec(NAME, {}), tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != ".state"] == []


def test_scheduler_without_workers():
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as empty:
        address = empty.scheduler_address
        with pytest.raises(SchedulerError, match="no worker has joined the scheduler"), cluster_of(0, address, 0.2):
            pytest.fail("there is no worker")


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(cluster.os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    monkeypatch.setattr(cluster.os, "cpu_count", lambda: 64)
    assert cluster._cores() == 3


@pytest.fixture
def refusing(monkeypatch):
    """This process as a worker at an address."""
    monkeypatch.setattr(worker, "get_worker", lambda: SimpleNamespace(address="tcp://here:1"))


def test_worker_of_another_version_refuses(slides, refusing):
    spec = find_slides([slides / "s0.png"])[0]
    versions = {**versions_here(), "numpy": "0.0.1", "one-that-is-not-here": "1"}
    found = prepare_here(versions, RouteSpec(NAME, {}), spec, None)
    assert found.worker == "tcp://here:1"
    assert re.search(r"worker on .* has numpy [1-9.]+ \(the run: 0\.0\.1\); install one version", found.reason)
    assert measure_here(versions, RouteSpec(NAME, {}), []) == found
    assert prepare_here(versions_here(), RouteSpec(NAME, {}), spec, None).error is None


def test_worker_that_does_not_see_the_slide_refuses(slides, refusing, tmp_path):
    spec = find_slides([slides / "s0.png"])[0]
    spec = dataclasses.replace(spec, source=dataclasses.replace(spec.source, paths={"": tmp_path / "gone.png"}))
    assert "does not see" in prepare_here(versions_here(), RouteSpec(NAME, {}), spec, None).reason


def test_what_one_worker_refuses_another_does_and_what_all_refuse_fails(slides, straight, tmp_path, small_units):
    def spoil():
        from ctc_mm.distributed import worker

        worker.versions_here = lambda: {"numpy": "0.0.1"}

    with cluster_of(workers=2) as client:
        address, (first, second) = client.scheduler_info()["address"], client.nthreads()
        run = partial(count_slides, slides, RouteSpec(NAME, {}), outputs=NO_REPORT, scheduler=address)
        client.run(spoil, workers=[first])
        assert [one.name for one in run(tmp_path / "one").failed] == ["s5"]
        client.run(spoil, workers=[second])
        assert all("has numpy 0.0.1" in one.error for one in run(tmp_path / "none").failed)
        assert len(run(tmp_path / "none").failed) == 6
    assert all_bytes(tmp_path / "one") == straight
