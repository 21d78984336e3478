"""Map a function over an iterator by threads: results in order, and only a bounded number of items read ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Items per thread that are read ahead by default: enough to keep all threads busy, few enough to bound memory."""


def ordered_map(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int | None = None,
    executor: Executor | None = None,
    known: Callable[[T], R | None] | None = None,
) -> Generator[R, None, None]:
    """Yield ``work(item)`` of every item, in the order of the items.

    Nothing starts before the first result is asked for. When the iteration ends, fails or is closed early, items that
    were not begun are dropped, and those in work are waited for. Where an exception may stop the consumer, wrap the
    iterator in :func:`contextlib.closing`, so that this happens at once.

    Args:
        work: Function that threads call; it must be safe to call from several threads.
        items: Items, which are taken in the consumer's thread, a bounded number ahead of the results.
        workers: Number of threads.
        ahead: Most items that are taken ahead of the results; by default :data:`AHEAD` for each thread.
        executor: Executor that runs the work and is left open. By default an executor of ``workers`` threads is made
            for this call, and shut down in the end.
        known: Function that gives the result of an item that needs no work, and ``None`` for the others. It is called
            in the consumer's thread.

    Raises:
        ValueError: ``workers`` or ``ahead`` is less than 1.
        Exception: Whatever ``items``, ``known`` or ``work`` raises, after all results before it.
    """
    for group in ordered_groups(work, items, workers=workers, ahead=ahead, executor=executor, known=known):
        yield from group


def ordered_groups(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int | None = None,
    executor: Executor | None = None,
    known: Callable[[T], R | None] | None = None,
    limit: int = 1,
    size: Callable[[R], int] = lambda _: 1,
) -> Generator[list[R], None, None]:
    """Yield the results of :func:`ordered_map` in groups: those that are ready already are taken together.

    A group is never waited for: it holds the next result, and those that follow it without a gap and are ready, until
    their sizes add up to ``limit`` or more.

    Args:
        work: As for :func:`ordered_map`.
        items: As for :func:`ordered_map`.
        workers: As for :func:`ordered_map`.
        ahead: As for :func:`ordered_map`.
        executor: As for :func:`ordered_map`.
        known: As for :func:`ordered_map`.
        limit: Size from which on a group takes no further result.
        size: Function that gives the size of a result; by default each counts 1.

    Raises:
        ValueError: ``workers`` or ``ahead`` is less than 1.
        Exception: Whatever ``items``, ``known`` or ``work`` raises, after all results before it.
        RuntimeError: The iteration began in a process from which this one was forked.
    """
    bound = AHEAD * workers if ahead is None else ahead
    if workers < 1 or bound < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {bound}")
    source = iter(items)
    process = os.getpid()
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="deepfake-map") if executor is None else executor

    def refill() -> None:
        nonlocal source
        try:
            for item in islice(source, bound - len(pending)):
                result = None if known is None else known(item)
                pending.append(pool.submit(work, item) if result is None else _done(result))
        except Exception as error:  # noqa: BLE001 - it is raised in its turn, after the results before it
            failed: Future[R] = Future()
            failed.set_exception(error)
            pending.append(failed)
            source = iter(())

    try:
        refill()
        while pending:
            if os.getpid() != process:
                raise RuntimeError("this iterator was begun before the process was forked; begin a new one here")
            group = [pending.popleft().result()]
            total = size(group[0])
            while total < limit and pending and pending[0].done() and pending[0].exception() is None:
                group.append(pending.popleft().result())
                total += size(group[-1])
            refill()
            yield group
    finally:
        if os.getpid() != process:
            pass  # the threads that would finish the work are those of the parent
        elif executor is None:
            pool.shutdown(wait=True, cancel_futures=True)
        else:
            wait([future for future in pending if not future.cancel()])


def _done(result: R) -> Future[R]:
    future: Future[R] = Future()
    future.set_result(result)
    return future
