"""Work done ahead of whoever takes it, in threads, and handed over in its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ['map_ahead']

_In = TypeVar('_In')
_Out = TypeVar('_Out')

_AHEAD = 4  # items under way per worker: a slow picture holds up nobody


def map_ahead(
    work: Callable[[_In], _Out], items: Iterable[_In], *, workers: int = 0
) -> Iterator[_Out]:
    """
    Map in threads, with a bounded number of items under way.

    Parameters
    ----------
    work : callable
        What is done with an item.
    items : iterable
        Taken from the calling thread.
    workers : int, default 0
        Threads; 0 works in the calling one.

    Yields
    ------
    object
        What came of each item, in the same order. An error of ``items`` is raised behind all that
        came before it, however many threads there are.

    """
    if workers < 1:
        yield from map(work, items)
        return
    pending: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix='ahead') as pool:
        try:
            for future in _submitted(pool, work, items):
                pending.append(future)
                if len(pending) >= _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _submitted(
    pool: ThreadPoolExecutor, work: Callable[[_In], _Out], items: Iterable[_In]
) -> Iterator[Future[_Out]]:
    """Yield what is going to come of each item; of an error of their source, in its place."""
    try:
        for item in items:
            yield pool.submit(work, item)
    except Exception as error:  # noqa: BLE001, whoever takes the results gets it
        failed: Future[_Out] = Future()
        failed.set_exception(error)
        yield failed
