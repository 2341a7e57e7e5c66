"""Calls a function at a fixed period from a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
import threading

__all__ = ['Reporter']


class Reporter:
    """
    Reports while the executor is busy, and in wall time while simulated time stands still.

    Parameters
    ----------
    report : callable
        What to call.
    period : float
        Time between two calls, in s.
    on_error : callable
        Told what a call raised; the next one comes all the same.

    """

    def __init__(
        self, report: Callable[[], None], *, period: float, on_error: Callable[[Exception], None]
    ) -> None:
        self._report = report
        self._period = period
        self._on_error = on_error
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name='report', daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """
        End after the call in work.

        Parameters
        ----------
        timeout : float, default 5.0
            Longest wait, in s.

        Returns
        -------
        bool
            False where that call has not come back.

        """
        self._ending.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ending.wait(self._period):
            try:
                self._report()
            except Exception as error:  # noqa: BLE001, one report missed is not the last one
                if not self._ending.is_set():
                    self._on_error(error)
