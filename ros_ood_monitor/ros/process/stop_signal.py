"""SIGINT and SIGTERM as one thing to wait for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Final

__all__ = ['StopSignal']

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """
    Takes SIGINT and SIGTERM over, however many come and whichever thread the system interrupts.

    A handler of Python's must not set an Event: it runs in the middle of what the main thread
    does, so that a second signal has it wait for a lock that it holds itself. Nor may the main
    thread wait for a lock: a signal that another thread got does not wake it. Both hung the node
    once in some tens of endings. The interpreter writes a byte into a pipe at once, and reading
    a pipe has neither trouble.

    Python's handlers stay in place, so that nothing is interrupted by a second Ctrl-C. To be made
    in the main thread, once a process.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)

    def now(self) -> None:
        """End the wait without a signal; from any thread."""
        with contextlib.suppress(BlockingIOError):  # full of signals, then
            os.write(self._write, bytes([signal.SIGTERM]))

    def wait(self) -> None:
        """Wait for a signal that has come, or will."""
        while os.read(self._read, 1)[0] not in _SIGNALS:
            pass

    def as_event(self) -> threading.Event:
        """Return an event that is set by a thread of its own, for work that looks at one."""
        event = threading.Event()

        def watch() -> None:
            self.wait()
            event.set()

        threading.Thread(target=watch, name='stop', daemon=True).start()
        return event

    @staticmethod
    def ignore() -> None:
        """Take no signal any more."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
