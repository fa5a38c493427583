"""Progress of all runs: bars on a terminal, a line at each step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.engine.runs.single_run import RunOutcome

WAITING, TRAINING, TESTING, DONE, FAILED = "waits", "trains", "is tested", "done", "failed"


class Board:
    """What the user sees while models are trained and tested.

    Args:
        folders: of the runs, by name.
        epochs: of each training, by name; None where it counts iterations.
        what: the runs are called, in the plural.
    """

    def __init__(self, folders: Mapping[str, RunFolder], epochs: Mapping[str, int | None], what: str = "runs") -> None:
        self.folders, self.epochs, self.what = dict(folders), dict(epochs), what
        self.console = Console(stderr=True)
        self.state = dict.fromkeys(self.folders, WAITING)
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    @contextmanager
    def shown(self) -> Iterator[Board]:
        """Show it while the block runs."""
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.progress = Progress(*columns, console=self.console)
            self.tasks["all"] = self.progress.add_task(self.what, total=len(self.folders))
            with self.progress:
                yield self
            return
        yield self

    def refresh(self) -> None:
        """Look at what the runs have written."""
        for name, folder in self.folders.items():
            if self.state[name] in (DONE, FAILED) or folder.done_mark.is_file() or not folder.train_log.is_file():
                continue
            self._enter(name, TESTING if folder.trained_mark.is_file() else TRAINING)
            if self.progress is not None and self.state[name] == TRAINING:
                self.progress.update(self.tasks[name], completed=folder.finished_epochs)

    def finish(self, outcome: RunOutcome) -> None:
        """Take in how a run ended."""
        if outcome.stopped:
            return
        note = " before" if outcome.was_done else ""
        self._enter(outcome.name, FAILED if outcome.problem else DONE, note)
        if self.progress is not None:
            ended = sum(state in (DONE, FAILED) for state in self.state.values())
            self.progress.update(self.tasks["all"], completed=ended)

    def _enter(self, name: str, state: str, note: str = "") -> None:
        if self.state[name] == state:
            return
        self.state[name] = state
        if self.progress is None:
            ended = sum(one in (DONE, FAILED) for one in self.state.values())
            log = f" (log: {self.folders[name].train_log})" if state == TRAINING else ""
            print(f"{name}: {state}{note}{log}; {ended} of {len(self.folders)} {self.what} ended", file=sys.stderr)  # noqa: T201
            return
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=self.epochs[name])
        epochs = self.epochs[name]
        total = {DONE: epochs or 1, FAILED: epochs or 1}.get(state, epochs)
        completed = total if state == DONE else None
        self.progress.update(self.tasks[name], description=f"{name} {state}{note}", total=total, completed=completed)
