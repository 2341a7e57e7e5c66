"""Work done ahead of whoever takes it, in threads, and handed over in its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ['in_order']

_In = TypeVar('_In')
_Out = TypeVar('_Out')

_AHEAD = 4  # items under way per worker: a slow picture holds up nobody


def in_order(
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
        What came of each item, in the same order.

    """
    if workers < 1:
        yield from map(work, items)
        return
    pending: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix='ahead') as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
