"""Counting slides: every slide through one route, results written slide by slide, resumable."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.counting.finishing import Finisher
from ctc_mm.counting.jobs import RunContext, SlideJob, SlideOutcome
from ctc_mm.counting.local import run_local
from ctc_mm.counting.outputs import INDEX, OutputOptions, explains, write_summary
from ctc_mm.counting.patients import MEASURED
from ctc_mm.counting.progress import RunProgress, Silent
from ctc_mm.counting.records import SPIKE_IN, SlideSpec
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.counting.slide_list import find_slides, name_for_files
from ctc_mm.counting.state import STATE_FOLDER
from ctc_mm.counting.summary_files import FILES
from ctc_mm.errors import SlideError

# What lies beside the slides' folders.
SUMMARY = {INDEX, *FILES}


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        out_dir: folder with the results.
        slides: how each slide ended, in the order given.
        summary_files: tables and pages over all slides.
        problems: what was asked for and could not be done, such as a recovery measured by spike-ins that failed.
        notes: what a reader of the counts should know.
    """

    out_dir: Path
    slides: tuple[SlideOutcome, ...]
    summary_files: tuple[Path, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[SlideOutcome, ...]:
        """Slides without a result."""
        return tuple(one for one in self.slides if one.error is not None)

    @property
    def incomplete(self) -> tuple[SlideOutcome, ...]:
        """Slides that were counted, but for a part that could not be read."""
        return tuple(one for one in self.slides if one.error is None and not one.complete)

    @property
    def is_complete(self) -> bool:
        """Whether every pixel of every slide was looked at, and all that was asked for was done."""
        return not self.failed and not self.incomplete and not self.problems

    def lines(self) -> Iterator[str]:
        """What a user is told at the end."""
        good = len(self.slides) - len(self.failed) - len(self.incomplete)
        kept = sum(one.kept for one in self.slides)
        before = f", {kept} of them by an earlier run" if kept else ""
        yield f"slides counted: {good + len(self.incomplete)} of {len(self.slides)}{before}"
        yield from (f"failed: {one.name}: {one.error}" for one in self.failed)
        yield from (f"incomplete: {one.name}: {one.lost}" for one in self.incomplete)
        yield from (f"problem: {one}" for one in self.problems)
        yield from (f"note: {one}" for one in self.notes)
        yield f"results: {self.out_dir}"


def count_slides(
    slides: str | Path | Sequence[str | Path] | Sequence[SlideSpec],
    route: RouteSpec,
    out: str | Path,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    outputs: OutputOptions | None = None,
    progress: RunProgress | None = None,
) -> RunResult:
    """Count the cells of slides and write everything a lab needs of it.

    A slide that an earlier run into ``out`` has finished is not counted again; one that it has begun goes on from
    there; one whose file or settings have changed is counted anew. A slide that fails is named, and the others go on.
    Cells do not depend on ``workers`` or ``scheduler``, a network's scores and boxes to rounding (its sums are made in
    another order with another number of threads). With ``workers``, a script calls it below
    ``if __name__ == "__main__":``, since each process runs the script's top again.

    Args:
        slides: files, folders, globs, tables (``find_slides`` takes more options), or slides already described.
        route: name and settings; ``ctc_mm.counting.routes`` knows the names.
        out: folder for the results: ``<slide>/`` for each, tables over all of them beside.
        workers: processes on this machine; 0: this process alone.
        scheduler: address of a Dask scheduler in the place of ``workers``.
        outputs: what is written, and how; None: everything.
        progress: is told how far the run is.

    Raises:
        SlideError: no slides, or two of one name.
        ValueError: ``workers`` and ``scheduler`` that do not go together; settings that the route does not take.
        CheckpointError: a model that cannot be read.
        OSError: ``out`` cannot be written.
    """
    if workers < 0 or (workers and scheduler is not None):
        raise ValueError(
            f"`workers` must be 0 or more, and 0 beside `scheduler`. Received: {workers} and {scheduler!r}"
        )
    specs = [_with_absolute_paths(spec) for spec in _specs(slides)]
    progress, options, out_dir = progress or Silent(), outputs or OutputOptions(), Path(out)
    _check_names(specs)
    _check_recovery(specs, options)
    out_dir.mkdir(parents=True, exist_ok=True)
    jobs = _run(specs, route, out_dir, options, progress, workers, scheduler)
    _tell_of_others(specs, out_dir, progress)
    outcomes = tuple(job.outcome for job in jobs)
    folders = [one.folder for one in outcomes if one.error is None]
    failed = [
        {"name": one.name, "patient": spec.patient, "role": spec.role, "error": one.error}
        for spec, one in zip(specs, outcomes, strict=True)
        if one.error is not None
    ]
    files, summary = write_summary(out_dir, folders, failed, options)
    return RunResult(out_dir, outcomes, tuple(files), tuple(summary["problems"]), tuple(summary["notes"]))


def _run(
    specs: Sequence[SlideSpec],
    route: RouteSpec,
    out_dir: Path,
    options: OutputOptions,
    progress: RunProgress,
    workers: int,
    scheduler: str | None,
) -> list[SlideJob]:
    """Take every slide to its end."""
    built = build_route(route)
    is_local = not workers and scheduler is None
    with Finisher(beside=not (is_local and explains(options, built.name))) as finisher:
        context = RunContext(route, built, built.identity(), out_dir, options, progress, finisher)
        jobs = [SlideJob(spec, context) for spec in specs]
        progress.start(len(jobs))
        if is_local:
            run_local(built, _unfinished(jobs), progress)
        else:
            # Dask is imported for those who ask for it.
            from ctc_mm.distributed.cluster import cluster_of
            from ctc_mm.distributed.dask_run import run_on_dask

            with cluster_of(workers, scheduler) as client:
                run_on_dask(client, route, _unfinished(jobs), progress)
    return jobs


def _specs(slides: str | Path | Sequence[str | Path] | Sequence[SlideSpec]) -> list[SlideSpec]:
    given = [slides] if isinstance(slides, str | Path) else list(slides)
    described = [one for one in given if isinstance(one, SlideSpec)]
    if described and len(described) < len(given):
        raise TypeError("`slides` must be paths or SlideSpecs, not both; describe the paths by find_slides")
    return described or find_slides(given)


def _unfinished(jobs: Sequence[SlideJob]) -> Iterator[SlideJob]:
    for job in jobs:
        job.open_state()
        if job.outcome is None:
            yield job


def _check_names(specs: Sequence[SlideSpec]) -> None:
    seen: dict[str, SlideSpec] = {}
    for spec in specs:
        if name_for_files(spec.name) != unicodedata.normalize("NFC", spec.name) or spec.name.casefold() in SUMMARY:
            raise SlideError(
                f"no folder of results can be called {spec.name!r}: too long, with characters that file names do not "
                "hold everywhere, or a file of the results itself; give another name (column name of a table of slides)"
            )
        # Upper and lower case are one name on many file systems.
        other = seen.setdefault(spec.name.casefold(), spec)
        if other is not spec:
            files = [", ".join(map(str, one.source.paths.values())) for one in (other, spec)]
            raise SlideError(
                f"two slides are called {spec.name!r} ({files[0]} and {files[1]}); their results would be one folder: "
                "give names in a table of slides, or rename one"
            )


def _tell_of_others(specs: Sequence[SlideSpec], out_dir: Path, progress: RunProgress) -> None:
    """Say that the folder holds slides of other runs: whoever adds up its folders would count them too."""
    names = {spec.name for spec in specs}
    others = sorted(path.name for path in (out_dir / STATE_FOLDER).iterdir() if path.name not in names)
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        progress.tell(f"{out_dir} also holds slides of other runs, which its tables leave out: {shown}")


def _check_recovery(specs: Sequence[SlideSpec], options: OutputOptions) -> None:
    """Refuse before hours of counting what could not be measured after them."""
    if options.recovery == MEASURED and not any(spec.role == SPIKE_IN for spec in specs):
        raise SlideError(
            f"recovery cannot be measured: no slide has the role {SPIKE_IN!r}; name the spike-ins in the table of "
            "slides (role, spiked), or give the recovery as a number"
        )


def _with_absolute_paths(spec: SlideSpec) -> SlideSpec:
    """The slide as another process finds it, whose folder may be another."""
    paths = {channel: Path(path).absolute() for channel, path in spec.source.paths.items()}
    return dataclasses.replace(spec, source=dataclasses.replace(spec.source, paths=paths))
