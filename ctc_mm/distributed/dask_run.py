"""A run on Dask: slides are looked over and units measured by workers; this process keeps, merges and writes.

A worker that dies is survived: Dask gives its tasks to others. A task that was lost with several workers may have
killed them, or only lain beside the one that did. Such suspects are run one at a time when all else is done; the one
that kills again is named, and only its slide fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dask.distributed import Client, Future, KilledWorker, as_completed

from ctc_mm import __version__
from ctc_mm.counting.jobs import SlideJob
from ctc_mm.counting.progress import RunProgress
from ctc_mm.counting.records import Overview
from ctc_mm.counting.route import FirstPass, RouteSpec
from ctc_mm.counting.units import UNIT_PX, pixels_of
from ctc_mm.counting.work import UnitTask, describe
from ctc_mm.distributed.worker import measure_here, prepare_here
from ctc_mm.errors import SchedulerError

# Tasks begun ahead of each worker: it has the next at hand when one is done, and memory stays bounded.
TASKS_AHEAD = 3


def run_on_dask(client: Client, route: RouteSpec, jobs: Iterable[SlideJob], progress: RunProgress) -> None:
    """Take every slide to its end on the workers of a cluster.

    Args:
        client: of the cluster.
        route: is built once on each worker.
        jobs: taken as workers are free.
        progress: is told of every unit.

    Raises:
        SchedulerError: the scheduler is gone; what was finished is kept.
    """
    _DaskRun(client, route, iter(jobs), progress).run()


class _DaskRun:
    """The tasks that are on their way, and those that wait."""

    def __init__(self, client: Client, route: RouteSpec, jobs: Iterable[SlideJob], progress: RunProgress) -> None:
        self._client, self._route, self._jobs, self._progress = client, route, jobs, progress
        self._begun: dict[str, SlideJob] = {}
        self._preparing: dict[str, SlideJob] = {}
        self._measuring: dict[str, list[UnitTask]] = {}
        self._waiting: deque[UnitTask] = deque()
        self._suspect_slides: list[SlideJob] = []
        self._suspect_units: list[UnitTask] = []
        self._completed = as_completed([], raise_errors=False)

    def run(self) -> None:
        try:
            self._send()
            for future in self._completed:
                self._take(future)
                self._send()
            self._run_suspects()
        finally:
            self._client.cancel(list(self._completed.futures))

    def _send(self) -> None:
        """Send units that wait, small ones together; and look over as many slides as there is room for."""
        room = TASKS_AHEAD * max(1, sum(self._client.nthreads().values()))
        while self._waiting and len(self._measuring) < room:
            bundle, pixels = [], 0
            while self._waiting and pixels < UNIT_PX:
                task = self._waiting.popleft()
                if self._begun[task.plan.spec.name].outcome is None:
                    bundle.append(task)
                    pixels += pixels_of(task.plan, task.unit)
            if bundle:
                self._measure(bundle)
        while not self._waiting and len(self._preparing) + len(self._measuring) < room:
            job = next(self._jobs, None)
            if job is None:
                return
            self._prepare(job)

    def _prepare(self, job: SlideJob) -> None:
        future = self._client.submit(prepare_here, __version__, self._route, job.spec, job.first, pure=False)
        self._preparing[future.key] = job
        self._completed.add(future)

    def _measure(self, bundle: list[UnitTask]) -> None:
        future = self._client.submit(measure_here, __version__, self._route, bundle, pure=False)
        self._measuring[future.key] = bundle
        self._completed.add(future)

    def _take(self, future: Future) -> None:
        self._require_kept(future)
        if future.status == "lost":  # its worker died before the result was fetched: Dask does it again
            self._completed.add(future)
            return
        job, bundle = self._preparing.pop(future.key, None), self._measuring.pop(future.key, None)
        if future.status == "error":
            self._suspect_slides += [] if job is None else [job]
            self._suspect_units += bundle or []
        elif job is not None:
            self._take_prepared(job, future)
        else:
            self._take_measured(future)

    def _take_prepared(self, job: SlideJob, future: Future) -> None:
        self._begun[job.name] = job
        for unit in job.begin(future.result()):
            # The overview stays here: no tile needs it.
            levels = FirstPass(job.first.levels, Overview(job.first.overview.rgb[:1, :1], job.first.overview.scale))
            self._waiting.append(UnitTask(job.plan, levels, unit))

    def _take_measured(self, future: Future) -> None:
        for result in future.result():
            self._progress.tiles_done(len(result.unit.tiles))
            self._begun[result.slide].take(result)

    def _run_suspects(self) -> None:
        for job in self._suspect_slides:
            future = self._client.submit(prepare_here, __version__, self._route, job.spec, job.first, pure=False)
            if self._alone(future, job, "looked over it"):
                self._take_prepared(job, future)
        self._suspect_units += self._waiting
        for task in self._suspect_units:
            job = self._begun[task.plan.spec.name]
            if job.outcome is None:
                future = self._client.submit(measure_here, __version__, self._route, [task], pure=False)
                if self._alone(future, job, f"measured its tiles {task.unit.first} to {task.unit.stop - 1}"):
                    self._take_measured(future)

    def _alone(self, future: Future, job: SlideJob, what: str) -> bool:
        """Wait for a task that runs alone; where it fails its slide does, and False is given."""
        error = future.exception()
        self._require_kept(future)
        if isinstance(error, KilledWorker):
            job.fail(
                f"{error.allowed_failures + 1} workers died while they {what}: not enough memory, or a file that "
                "brings down its reader; see the workers' logs, or count this slide alone"
            )
        elif error is not None:
            job.fail(describe(error))
        return error is None

    def _require_kept(self, future: Future) -> None:
        if future.status == "cancelled":
            raise SchedulerError(
                "the Dask scheduler has gone or was restarted; finished slides and units are kept: the same command "
                "goes on from there"
            )
