"""A run in this process: the next slides are looked over while the tiles of the current one are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ctc_mm.counting.jobs import SlideJob
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.progress import RunProgress
from ctc_mm.counting.route import Route
from ctc_mm.counting.work import Prepared, UnitTask, measure_units, prepare


def run_local(route: Route, jobs: Iterable[SlideJob], progress: RunProgress) -> None:
    """Take every slide to its end, one stream of tiles over all of them, so that batches run on across slides.

    Args:
        route: plans, looks over and measures; a slide's first pass runs in a thread beside the measuring of another's.
        jobs: taken as they are needed, two ahead.
        progress: is told of every tile.
    """
    begun: dict[str, SlideJob] = {}

    def look_over(job: SlideJob) -> Prepared:
        return prepare(route, job.spec, job.first)

    def tasks() -> Iterator[UnitTask]:
        for job, prepared in prefetch(look_over, jobs, threads=1, in_flight=2):
            begun[job.name] = job
            for unit in job.begin(prepared):
                if job.outcome is None:
                    yield UnitTask(job.plan, job.first, unit)

    for result in measure_units(route, tasks(), progress.tiles_done):
        begun[result.slide].take(result)
