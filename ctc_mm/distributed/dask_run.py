"""A run on Dask: slides are looked over and units measured by workers; this process keeps, merges and writes.

A worker that dies is survived: Dask gives its tasks to others. A task that was lost with several workers may have
killed them, or only lain beside the one that did. Such suspects are run one at a time when all else is done; the one
that kills again is named, and only its slide fails. What a worker refuses for reasons of its own (another version, a
folder that is not mounted) is given to the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from dask.distributed import Client, Future, KilledWorker, as_completed

from ctc_mm.counting.jobs import SlideJob
from ctc_mm.counting.progress import RunProgress
from ctc_mm.counting.records import Overview
from ctc_mm.counting.route import FirstPass, RouteSpec
from ctc_mm.counting.units import UNIT_PX, pixels_of
from ctc_mm.counting.work import Prepared, UnitResult, UnitTask, describe
from ctc_mm.distributed.worker import Refused, measure_here, prepare_here, versions_here
from ctc_mm.errors import SchedulerError

# Tasks begun ahead of each worker: it has the next at hand when one is done, and memory stays bounded.
TASKS_AHEAD = 3
T = TypeVar("T")


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
        self._refused_by: dict[str, frozenset[str]] = {}
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

    def _prepare(self, job: SlideJob, refused_by: frozenset[str] = frozenset()) -> None:
        future = self._submit(refused_by, prepare_here, job.spec, job.first)
        self._preparing[future.key], self._refused_by[future.key] = job, refused_by
        self._completed.add(future)

    def _measure(self, bundle: list[UnitTask], refused_by: frozenset[str] = frozenset()) -> None:
        future = self._submit(refused_by, measure_here, bundle)
        self._measuring[future.key], self._refused_by[future.key] = bundle, refused_by
        self._completed.add(future)

    def _submit(self, refused_by: frozenset[str], function: Callable[..., Any], *work: Any) -> Future:
        """Give work to the workers, as long as there are others not to those that refused it."""
        others = sorted(set(self._client.nthreads()) - refused_by) if refused_by else []
        return self._client.submit(
            function, versions_here(), self._route, *work,
            workers=others or None, allow_other_workers=bool(others), pure=False,
        )  # fmt: skip

    def _take(self, future: Future) -> None:
        self._require_kept(future)
        if future.status == "lost":  # its worker died before the result was fetched: Dask does it again
            self._completed.add(future)
            return
        job, bundle = self._preparing.pop(future.key, None), self._measuring.pop(future.key, None)
        refused_by = self._refused_by.pop(future.key)
        if future.status == "error":
            self._suspect_slides += [] if job is None else [job]
            self._suspect_units += bundle or []
            return
        found = future.result()
        if isinstance(found, Refused):
            self._take_elsewhere(found, refused_by | {found.worker}, job, bundle or [])
        elif job is not None:
            self._take_prepared(job, found)
        else:
            self._take_measured(found)

    def _take_elsewhere(
        self, found: Refused, refused_by: frozenset[str], job: SlideJob | None, bundle: list[UnitTask]
    ) -> None:
        """Give refused work to another worker; where all have refused it, its slide fails."""
        if set(self._client.nthreads()) - refused_by:
            if job is not None:
                self._prepare(job, refused_by)
            else:
                self._measure(bundle, refused_by)
        elif len(bundle) > 1:  # one of its slides may be the reason
            for task in bundle:
                self._measure([task])
        else:
            (job or self._begun[bundle[0].plan.spec.name]).fail(found.reason)

    def _take_prepared(self, job: SlideJob, prepared: Prepared) -> None:
        self._begun[job.name] = job
        for unit in job.begin(prepared):
            # The overview stays here: no tile needs it.
            levels = FirstPass(job.first.levels, Overview(job.first.overview.rgb[:1, :1], job.first.overview.scale))
            self._waiting.append(UnitTask(job.plan, levels, unit))

    def _take_measured(self, results: list[UnitResult]) -> None:
        for result in results:
            self._progress.tiles_done(len(result.unit.tiles))
            self._begun[result.slide].take(result)

    def _run_suspects(self) -> None:
        for job in self._suspect_slides:
            prepared = self._alone(job, "looked over it", prepare_here, job.spec, job.first)
            if prepared is not None:
                self._take_prepared(job, prepared)
        self._suspect_units += self._waiting
        for task in self._suspect_units:
            job = self._begun[task.plan.spec.name]
            if job.outcome is None:
                what = f"measured its tiles {task.unit.first} to {task.unit.stop - 1}"
                results = self._alone(job, what, measure_here, [task])
                if results is not None:
                    self._take_measured(results)

    def _alone(self, job: SlideJob, what: str, function: Callable[..., T | Refused], *work: Any) -> T | None:
        """Wait for work that is done alone; where no worker can, the slide fails, and None is given."""
        workers, reason = frozenset(self._client.nthreads()), ""
        one_by_one = [workers - {one} for one in sorted(workers)] if len(workers) > 1 else []
        for not_on in (frozenset[str](), *one_by_one):
            future = self._submit(not_on, function, *work)
            error = future.exception()
            self._require_kept(future)
            found = future.result() if error is None else None
            if found is not None and not isinstance(found, Refused):
                return found
            if isinstance(error, KilledWorker):
                job.fail(
                    f"{error.allowed_failures + 1} workers died while they {what}: not enough memory, or a file that "
                    "brings down its reader; see the workers' logs, or count this slide alone"
                )
                return None
            reason = describe(error) if found is None else found.reason
        job.fail(reason)
        return None

    def _require_kept(self, future: Future) -> None:
        if future.status == "cancelled":
            raise SchedulerError(
                "the Dask scheduler has gone or was restarted; finished slides and units are kept: the same command "
                "goes on from there"
            )
