"""Progress of all folds: bars on a terminal, a line at each step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ctc_mm.engine.cross_validation.fold_folder import FoldFolder
from ctc_mm.engine.cross_validation.fold_run import FoldOutcome
from ctc_mm.engine.cross_validation.learning_curves import epochs_trained

WAITING, TRAINING, TESTING, DONE, FAILED = "waits", "trains", "is tested", "done", "failed"


class Board:
    """What the user sees while folds run.

    Args:
        folds: by name.
        epochs: of each training; None where it counts iterations.
    """

    def __init__(self, folds: Mapping[str, FoldFolder], epochs: int | None) -> None:
        self.folds, self.epochs = dict(folds), epochs
        self.console = Console(stderr=True)
        self.state = dict.fromkeys(self.folds, WAITING)
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    @contextmanager
    def shown(self) -> Iterator[Board]:
        """Show it while the block runs."""
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.progress = Progress(*columns, console=self.console)
            self.tasks["all"] = self.progress.add_task("folds", total=len(self.folds))
            with self.progress:
                yield self
            return
        yield self

    def refresh(self) -> None:
        """Look at what the folds have written."""
        for name, fold in self.folds.items():
            if self.state[name] in (DONE, FAILED) or fold.done_mark.is_file() or not fold.train_log.is_file():
                continue
            self._enter(name, TESTING if fold.trained_mark.is_file() else TRAINING)
            if self.progress is not None and self.state[name] == TRAINING:
                self.progress.update(self.tasks[name], completed=epochs_trained(fold.model))

    def finish(self, outcome: FoldOutcome) -> None:
        """Take in how a fold ended."""
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
            log = f" (log: {self.folds[name].train_log})" if state == TRAINING else ""
            print(f"{name}: {state}{note}{log}; {ended} of {len(self.folds)} folds ended", file=sys.stderr)  # noqa: T201
            return
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=self.epochs)
        total = {DONE: self.epochs or 1, FAILED: self.epochs or 1}.get(state, self.epochs)
        completed = total if state == DONE else None
        self.progress.update(self.tasks[name], description=f"{name} {state}{note}", total=total, completed=completed)
