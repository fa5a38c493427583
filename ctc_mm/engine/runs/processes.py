"""Commands run as processes of their own, stopped together, and one run at a time in a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ctc_mm.errors import ConfigError

LOCK_FILE = ".running"
# Time a training has to end by itself after Ctrl-C, before it is killed.
PATIENCE_S = 10.0
HAS_GROUPS = os.name == "posix"


class Stopped(RuntimeError):  # noqa: N818  # nothing is wrong: the user has stopped the run
    """The run was stopped; what was under way goes on in the next one."""


class Children:
    """The processes of one run; ``run`` may be called from several threads.

    Args:
        environment: variables of every process.
        lock: handle that every process inherits, so that the folder stays locked as long as one of them lives.
    """

    def __init__(self, environment: Mapping[str, str], lock: int | None = None) -> None:
        self.environment = dict(environment)
        self._inherited = () if lock is None else (lock,)
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path) -> int:
        """Run a command to its end, what it prints added to ``log``.

        Returns:
            Its exit code; negative: the signal that ended it.

        Raises:
            Stopped: ``stop`` was called.
        """
        with log.open("ab") as out:
            with self._guard:
                if self._stopped:
                    raise Stopped
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    # Ctrl-C reaches this process alone, which then ends its children in order.
                    start_new_session=HAS_GROUPS,
                    pass_fds=self._inherited,
                )
                self._running.add(process)
            try:
                code = process.wait()
            finally:
                with self._guard:
                    self._running.discard(process)
        if self._stopped:
            raise Stopped
        if code < 0:
            _signal(process, kill=True)  # what it leaves behind: the loaders' workers
        return code

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """End all processes, with their workers; start no more."""
        with self._guard:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, kill=False)
        deadline = time.monotonic() + patience_s
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, kill=True)
                process.wait()


def _signal(process: subprocess.Popen, kill: bool) -> None:
    """End a process and all it has started."""
    if not HAS_GROUPS:
        process.kill() if kill else process.terminate()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    except ProcessLookupError:  # it has just ended by itself
        return


def training_environment(jobs: int, threads: int | None = None) -> dict[str, str]:
    """Environment of a fold's processes: the cores divided among ``jobs`` of them.

    Args:
        jobs: folds at a time.
        threads: of each process; None: as ``OMP_NUM_THREADS`` says, else the cores divided by ``jobs``.
    """
    environment = dict(os.environ)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads is not None or "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = str(threads or max(1, cores // jobs))
    environment["PYTHONUNBUFFERED"] = "1"  # a log that can be followed
    return environment


@contextmanager
def only_run_in(folder: Path) -> Iterator[int | None]:
    """Lock ``folder`` for this run; the lock goes with the last process that holds the handle, however it ends.

    Raises:
        ConfigError: another run, or a training that it left behind, is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield None
        return
    import fcntl

    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another run, or a training that one left behind, is at work in this folder. Wait for its "
                "end, stop it, or give another folder with --out."
            ) from error
        yield handle
    finally:
        os.close(handle)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (a batch system that takes the machine back) end a run as Ctrl-C does: in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
