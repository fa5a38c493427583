"""Things kept open for their next use: opened once, closed when there is no place, never while in use."""

import threading

import pytest

from ctc_mm.imaging.leases import Leases


class Thing:
    def __init__(self, key):
        self.key, self.closed = key, 0

    def close(self):
        self.closed += 1


class Opener:
    def __init__(self):
        self.things = []

    def __call__(self, key):
        self.things.append(Thing(key))
        return self.things[-1]

    @property
    def open_keys(self):
        return [thing.key for thing in self.things if not thing.closed]


def test_no_place_at_all_is_refused():
    with pytest.raises(ValueError, match="`most` must be at least 1. Received: 0"):
        Leases(Thing, 0)


def test_what_was_used_longest_ago_is_closed():
    opener = Opener()
    leases = Leases(opener, 2)
    for key in "abab":
        with leases.use(key) as thing:
            assert thing.key == key
    assert len(opener.things) == 2
    with leases.use("c"):
        pass
    assert opener.open_keys == ["b", "c"]
    with leases.use("a"):
        assert opener.open_keys == ["b", "c", "a"]  # as long as it is used it has no place of its own
    assert opener.open_keys == ["c", "a"]


def test_what_is_in_use_stays_open():
    opener = Opener()
    leases = Leases(opener, 1)
    with leases.use("a") as first:
        with leases.use("b"), leases.use("a") as again:
            assert again is first
        assert first.closed == 0
    leases.close()
    assert [thing.closed for thing in opener.things] == [1, 1]
    with pytest.raises(ValueError, match="'a' is asked for after everything was closed"), leases.use("a"):
        pass


def test_closing_waits_for_the_last_use():
    opener = Opener()
    leases = Leases(opener, 3)
    with leases.use("a") as thing:
        leases.close()
        assert thing.closed == 0
    assert thing.closed == 1


def test_memory_is_bounded_and_the_last_one_stays():
    opener = Opener()
    leases = Leases(opener, 9, size_of=lambda thing: {"s": 1, "m": 2, "l": 99}[thing.key], most_size=3)
    for key in "sm":
        with leases.use(key):
            pass
    assert opener.open_keys == ["s", "m"]
    with leases.use("l"):
        pass
    assert opener.open_keys == ["l"]


def test_what_cannot_be_opened_is_tried_again():
    attempts = []

    def open_one(key):
        attempts.append(key)
        if len(attempts) == 1:
            raise OSError("not yet")
        return Thing(key)

    leases = Leases(open_one, 1)
    with pytest.raises(OSError, match="not yet"), leases.use("a"):
        pass
    with leases.use("a") as thing:
        assert thing.key == "a"
    assert attempts == ["a", "a"]


def test_threads_that_ask_at_the_same_time_share_one():
    opener = Opener()
    leases = Leases(opener, 1)
    start = threading.Barrier(8)
    wrong = []

    def work(number):
        start.wait()
        for step in range(200):
            key = (number + step) % 3
            with leases.use(key) as thing:
                if thing.key != key or thing.closed:
                    wrong.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases.close()
    assert wrong == []
    assert {thing.closed for thing in opener.things} == {1}
