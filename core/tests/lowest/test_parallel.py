"""The bounded, ordered map over threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from deepfake_core.parallel import AHEAD, ordered_groups, ordered_map


def threads_of_maps():
    return [thread for thread in threading.enumerate() if thread.name.startswith("deepfake-map")]


def iter_into(got, results):
    """Append every result to ``got`` as soon as it is there."""
    for result in results:
        got.append(result)


class Counted:
    """Numbers from 0, counting how many were taken."""

    def __init__(self, total):
        self.total = total
        self.taken = 0

    def __iter__(self):
        for number in range(self.total):
            self.taken += 1
            yield number


def test_results_come_in_the_order_of_the_items():
    def work(number):
        time.sleep(0.002 * (number % 3 == 0))
        return number * number

    assert list(ordered_map(work, range(40), workers=4)) == [number * number for number in range(40)]
    assert list(ordered_map(work, [], workers=4)) == []


def test_nothing_starts_before_the_first_result_is_asked_for():
    items = Counted(10)
    results = ordered_map(str, items, workers=2)
    assert items.taken == 0
    assert next(results) == "0"
    results.close()


@pytest.mark.parametrize("ahead", [None, 1, 3])
def test_a_bounded_number_of_items_is_taken_ahead(ahead):
    bound = AHEAD * 2 if ahead is None else ahead
    items = Counted(50)
    for given, result in enumerate(ordered_map(str, items, workers=2, ahead=ahead), 1):
        assert result == str(given - 1)
        assert items.taken <= given + bound
    assert items.taken == 50


def test_an_endless_iterator_is_read_as_results_are_taken():
    def numbers():
        number = 0
        while True:
            yield number
            number += 1

    with closing(ordered_map(lambda number: -number, numbers(), workers=2)) as results:
        assert [next(results) for _ in range(5)] == [0, -1, -2, -3, -4]


def test_an_exception_of_the_work_comes_in_its_turn():
    def work(number):
        if number == 3:
            raise KeyError(number)
        return number

    got = []
    with pytest.raises(KeyError, match="3"):
        iter_into(got, ordered_map(work, range(100), workers=2))
    assert got == [0, 1, 2]
    assert not threads_of_maps()


def test_an_exception_of_the_items_comes_after_the_results_before_it():
    def items():
        yield from range(3)
        raise OSError("the list ends here")

    got = []
    with pytest.raises(OSError, match="ends here"):
        iter_into(got, ordered_map(str, items(), workers=2))
    assert got == ["0", "1", "2"]


def test_stopping_early_drops_what_was_not_begun_and_waits_for_the_rest():
    begun, ended, gate = [], [], threading.Event()

    def work(number):
        begun.append(number)
        if number:
            gate.wait(10)
        ended.append(number)
        return number

    results = ordered_map(work, range(100), workers=2, ahead=8)
    assert next(results) == 0
    gate.set()
    results.close()
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 9
    assert not threads_of_maps()


def test_an_executor_is_reused_and_left_open():
    with ThreadPoolExecutor(2, thread_name_prefix="own") as pool:
        names = set()

        def work(number):
            names.add(threading.current_thread().name)
            return number

        assert list(ordered_map(work, range(20), workers=2, executor=pool)) == list(range(20))
        results = ordered_map(work, range(20), workers=2, executor=pool)
        next(results)
        results.close()
        assert pool.submit(int, "7").result() == 7
        assert all(name.startswith("own") for name in names)
        assert not threads_of_maps()


def test_an_executor_has_no_work_left_after_an_early_stop():
    with ThreadPoolExecutor(1) as pool:
        done = []

        def work(number):
            time.sleep(0.01)
            done.append(number)
            return number

        results = ordered_map(work, range(50), workers=1, ahead=10, executor=pool)
        next(results)
        results.close()
        count = len(done)
        time.sleep(0.05)
        assert len(done) == count <= 3


def test_items_that_need_no_work_are_answered_in_their_place():
    worked = []

    def work(number):
        worked.append(number)
        return number

    known = lambda number: None if number % 2 else -number  # noqa: E731
    assert list(ordered_map(work, range(1, 7), workers=2, known=known)) == [1, -2, 3, -4, 5, -6]
    assert sorted(worked) == [1, 3, 5]


def test_results_that_are_ready_are_grouped_up_to_a_size():
    gate = threading.Event()
    finished = threading.Semaphore(0)

    def work(number):
        if number == 0:
            gate.wait(10)
        else:
            finished.release()
        return number

    results = ordered_groups(work, range(10), workers=2, ahead=10, limit=6, size=lambda number: number)
    opener = threading.Thread(target=lambda: [finished.acquire() for _ in range(9)] and gate.set())
    opener.start()
    groups = list(results)
    opener.join()
    assert [number for group in groups for number in group] == list(range(10))
    # 0 + 1 + 2 + 3 reaches the limit; a group is not cut to keep below it.
    assert groups == [[0, 1, 2, 3], [4, 5], [6], [7], [8], [9]]


def test_a_group_ends_before_a_result_that_is_not_ready():
    gate = threading.Event()

    def work(number):
        if number == 1:
            gate.wait(10)
        return number

    results = ordered_groups(work, range(3), workers=2, limit=100)
    assert next(results) == [0]
    gate.set()
    assert [number for group in results for number in group] == [1, 2]


def test_a_group_ends_before_an_exception():
    def work(number):
        if number == 2:
            raise ValueError("third")
        return number

    got = []
    with pytest.raises(ValueError, match="third"):
        iter_into(got, ordered_groups(work, range(3), workers=1, limit=100))
    assert [number for group in got for number in group] == [0, 1]


@pytest.mark.parametrize("bad", [{"workers": 0}, {"workers": 1, "ahead": 0}])
def test_at_least_one_item_and_one_thread(bad):
    with pytest.raises(ValueError, match="at least 1"):
        next(ordered_map(str, [1], **bad))
