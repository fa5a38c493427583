"""Several runs, some of them at a time, with their progress shown; Ctrl-C ends them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ctc_mm.engine.runs.board import Board
from ctc_mm.engine.runs.processes import Children, terminate_as_interrupt
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.engine.runs.single_run import RunCommands, RunOutcome, run_one

POLL_S = 0.5


def run_all(
    folders: Mapping[str, RunFolder],
    digests: Mapping[str, Mapping[str, str]],
    children: Children,
    commands: Mapping[str, RunCommands],
    jobs: int,
    board: Board,
) -> tuple[RunOutcome, ...]:
    """Bring every run to its end, ``jobs`` at a time; one that fails leaves the others alone.

    Args:
        folders: of the runs by name, prepared.
        digests: of each, see ``run_one``.
        children: start the processes.
        commands: of each.
        jobs: runs at the same time.
        board: shows how far they are.

    Returns:
        How each ended, in the order of ``folders``.
    """
    with terminate_as_interrupt(), ThreadPoolExecutor(max_workers=jobs) as pool, board.shown():
        try:
            waiting: dict[Future[RunOutcome], str] = {
                pool.submit(run_one, name, folder, digests[name], children, commands[name]): name
                for name, folder in folders.items()
            }
            outcomes: dict[str, RunOutcome] = {}
            while waiting:
                ended, _ = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
                board.refresh()
                for future in ended:
                    outcome = future.result()
                    outcomes[waiting.pop(future)] = outcome
                    board.finish(outcome)
        except BaseException:
            children.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return tuple(outcomes[name] for name in folders)


def run_command(command: Sequence[str], log: Path, children: Children) -> int:
    """Run one command to its end, as a process that Ctrl-C ends in order.

    Args:
        command: and its arguments.
        log: gets what it prints.
        children: starts it.

    Returns:
        Its exit code; negative: the signal that ended it.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:  # Ctrl-C reaches this thread, which waits for nothing but time
        future = pool.submit(children.run, command, log)
        try:
            while not future.done():
                wait([future], timeout=POLL_S)
        except BaseException:
            children.stop()
            raise
        return future.result()
