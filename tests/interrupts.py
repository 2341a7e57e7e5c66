"""Ctrl-C for commands that a test starts."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """
    Let a child process heed SIGINT, as ``preexec_fn`` of `subprocess.Popen`.

    A background job of a shell ignores it, and so would everything that the tests start there.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
