"""The last steps of slides: beside the measuring, in order, none lost."""

import threading

import pytest

from ctc_mm.counting.finishing import MOST_WAITING, Finisher


def test_nothing_to_finish():
    with Finisher(beside=True):
        pass


@pytest.mark.parametrize("beside", [True, False])
def test_steps_are_done_in_their_order_before_the_end(beside):
    done = []
    with Finisher(beside=beside) as finisher:
        for number in range(10):
            finisher.submit(lambda number=number: done.append((number, threading.current_thread())))
    assert [number for number, _ in done] == list(range(10))
    assert {thread is threading.main_thread() for _, thread in done} == {not beside}


def test_a_step_runs_while_the_next_slide_is_measured():
    may_end, done = threading.Event(), []
    with Finisher(beside=True) as finisher:
        finisher.submit(lambda: done.append(may_end.wait(10)))
        assert done == []  # submit did not wait for it
        may_end.set()
    assert done == [True]


def test_no_more_slides_wait_than_there_is_room_for():
    may_end, running = threading.Event(), []
    with Finisher(beside=True) as finisher:
        for _ in range(MOST_WAITING + 1):
            finisher.submit(lambda: running.append(may_end.wait(10)))
        late = threading.Thread(target=finisher.submit, args=(lambda: running.append("late"),))
        late.start()
        late.join(0.1)
        assert late.is_alive()
        may_end.set()
        late.join(10)
        assert not late.is_alive()
    assert running == [True] * (MOST_WAITING + 1) + ["late"]


@pytest.mark.parametrize("beside", [True, False])
def test_steps_are_done_after_ctrl_c_too(beside):
    done = []

    def stopped():
        with Finisher(beside=beside) as finisher:
            finisher.submit(lambda: done.append(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert done == [1]
