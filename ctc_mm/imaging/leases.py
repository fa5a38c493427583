"""A few opened things kept for their next use, shared by threads, and closed when others need their place."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something that holds files or memory until it is closed."""

    def close(self) -> None:
        """Let go of them."""


K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Closable)


@dataclass(eq=False)
class _Entry(Generic[T]):
    thing: T | None = None
    size: float = 0
    users: int = 0
    opening: threading.Lock = field(default_factory=threading.Lock)


class Leases(Generic[K, T]):
    """Opens things by key and keeps those used last; nothing is closed while a thread uses it.

    Args:
        open_one: opens the thing of a key; called once for threads that ask for it at the same time.
        most: things kept, beside those in use.
        size_of: memory of a thing, in any unit; 0 where it has next to none.
        most_size: memory of all that is kept; the thing used last stays in any case.

    Raises:
        ValueError: ``most`` is below 1.
    """

    def __init__(
        self,
        open_one: Callable[[K], T],
        most: int,
        size_of: Callable[[T], float] = lambda thing: 0,
        most_size: float = math.inf,
    ) -> None:
        if most < 1:
            raise ValueError(f"`most` must be at least 1. Received: {most}")
        self._open_one, self._size_of = open_one, size_of
        self._most, self._most_size = most, most_size
        self._entries: OrderedDict[K, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self, key: K) -> Iterator[T]:
        """Lend the thing of a key, opened where it is not yet.

        Raises:
            ValueError: after ``close``.
            Exception: what ``open_one`` raises; it is tried again at the next use.
        """
        entry = self._take(key)
        try:
            with entry.opening:
                if entry.thing is None:
                    entry.thing = self._open_one(key)
                    entry.size = self._size_of(entry.thing)
            yield entry.thing
        finally:
            self._give_back(key, entry)

    def close(self) -> None:
        """Close all; what is in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            surplus = self._pop_surplus()
        for thing in surplus:
            thing.close()

    def _take(self, key: K) -> _Entry[T]:
        with self._lock:
            if self._closed:
                raise ValueError(f"{key!r} is asked for after everything was closed")
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            entry.users += 1
            return entry

    def _give_back(self, key: K, entry: _Entry[T]) -> None:
        with self._lock:
            entry.users -= 1
            if entry.users == 0 and entry.thing is None:  # it could not be opened
                del self._entries[key]
            surplus = self._pop_surplus()
        for thing in surplus:
            thing.close()

    def _pop_surplus(self) -> list[T]:
        """Take out what there is no place for, longest unused first; the lock is held."""
        size = sum(entry.size for entry in self._entries.values())
        surplus = []
        for key, entry in list(self._entries.items()):
            is_last = len(self._entries) == 1
            fits = len(self._entries) <= self._most and (size <= self._most_size or is_last)
            if fits and not self._closed:
                break
            if entry.users == 0:
                del self._entries[key]
                size -= entry.size
                surplus.append(entry.thing)
        return surplus
