"""Reading ahead: work for the next items runs in threads while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(
    function: Callable[[T], R], items: Iterable[T], threads: int = 2, in_flight: int | None = None
) -> Iterator[tuple[T, R]]:
    """Give each item with ``function(item)``, in order, the next ones being worked on meanwhile.

    Args:
        function: called in threads, for several items at once.
        items: taken as they are needed, no more than ``in_flight`` ahead, so that memory stays bounded.
        threads: number of threads.
        in_flight: items begun and not yet given; None: one more than threads.

    Raises:
        ValueError: fewer than one thread or item.
        Exception: what ``function`` raised, when its item's turn comes.
    """
    in_flight = threads + 1 if in_flight is None else in_flight
    if threads < 1 or in_flight < 1:
        raise ValueError(f"`threads` and `in_flight` must be at least 1. Received: {threads} and {in_flight}")
    return _run(function, iter(items), threads, in_flight)


def _run(function: Callable[[T], R], items: Iterator[T], threads: int, in_flight: int) -> Iterator[tuple[T, R]]:
    begun: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        begun.extend((item, pool.submit(function, item)) for item in islice(items, in_flight))
        while begun:
            item, future = begun.popleft()
            result = future.result()
            begun.extend((following, pool.submit(function, following)) for following in islice(items, 1))
            yield item, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
