"""Slides are finished beside the measuring of the next ones: merging, tables and reports in a thread of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

# Slides whose cells wait in memory to be merged and written.
MOST_WAITING = 2


class Finisher:
    """Runs the last steps of slides in their order; a context manager that waits for all of them at its end.

    Args:
        beside: in a thread; otherwise at once, where the steps need the very model that is measuring (Grad-CAM).
    """

    def __init__(self, *, beside: bool) -> None:
        self._pool = ThreadPoolExecutor(1) if beside else None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)  # also after Ctrl-C: measured slides are made whole

    def submit(self, step: Callable[[], None]) -> None:
        """Run a step, now or when those before it are done; waits where too many are."""
        if self._pool is None:
            step()
            return
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(step))
