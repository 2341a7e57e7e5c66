"""Work in a thread of its own, beside the executor's only one: it holds no callback up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
import contextlib
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.task import Future as RosFuture

__all__ = ['Worker']


class Worker:
    """
    Runs one piece of work after the other.

    Parameters
    ----------
    node : rclpy.node.Node
        The node whose executor is woken when work that it awaits is done.
    name : str
        Name of the thread.

    """

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._unfinished: set[Future[Any]] = set()
        self._closing = False

    @property
    def is_closing(self) -> bool:
        """Tell whether the node is ending, so that work of several steps stops between two."""
        return self._closing

    @property
    def is_busy(self) -> bool:
        """Tell whether work is running or waiting for its turn."""
        return bool(self._unfinished)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """
        Run work after what was submitted before it.

        Parameters
        ----------
        work : callable
            What to do.

        Returns
        -------
        concurrent.futures.Future
            Its result.

        Raises
        ------
        RuntimeError
            If the node is ending.

        """
        future = self._pool.submit(work)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)  # done or cancelled
        return future

    async def run(self, work: Callable[[], Any]) -> Any:
        """
        Run work and await its result from a callback of the executor.

        Parameters
        ----------
        work : callable
            What to do; what it raises is raised here.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        RuntimeError
            If the node is ending.

        """
        done: Any = RosFuture()

        def hand_over(future: Future[Any]) -> None:
            error = None if future.cancelled() else future.exception()
            if future.cancelled():
                error = RuntimeError('the node is ending')
            if error is None:
                done.set_result(future.result())
            else:
                done.set_exception(error)
                done.exception()  # seen: rclpy would print it where nobody awaits any more
            # awaiting is looking again whenever the executor wakes up
            executor = self._node.executor
            with contextlib.suppress(InvalidHandle):
                if executor is not None:
                    executor.wake()

        self.submit(work).add_done_callback(hand_over)
        return await done

    def close(self, timeout: float) -> bool:
        """
        Take no more work, and wait for the piece that is running.

        Parameters
        ----------
        timeout : float
            Longest wait, in s.

        Returns
        -------
        bool
            False where it has not come back.

        """
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not wait(set(self._unfinished), timeout).not_done
