"""``ood_monitor build-engine`` in a process of its own: it may take minutes, and may die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import os
import re
import subprocess
import sys
import threading
from typing import Final

__all__ = ['PROGRESS', 'BuildProcess', 'progress_line']

PROGRESS: Final = re.compile(r'progress (\w+) (\d+)')
"""A line of its output that tells how far it is: a part, and percent of it."""

_LOWEST_PRIORITY: Final = 19
_STOP_TIMEOUT_S: Final = 1.0


def progress_line(part: str, share: float) -> str:
    """
    Return the line that `PROGRESS` reads.

    Parameters
    ----------
    part : str
        The graph that is built.
    share : float
        How much of it is done, from 0 to 1.

    Returns
    -------
    str
        Without a line end.

    """
    return f'progress {part} {100 * share:.0f}'


class BuildProcess:
    """
    A build that runs beside what serves meanwhile, at the lowest priority.

    It ends when it is stopped, and by itself at its next line where whoever started it has died:
    nobody reads that line any more.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``ood_monitor build-engine``.
    on_end : callable
        Told from a thread of its own, once, why there is no engine; empty where there is one. Not
        called after `stop`.

    Raises
    ------
    OSError
        If no process can be started.

    """

    def __init__(self, arguments: Sequence[str], *, on_end: Callable[[str], None]) -> None:
        self.progress = ''
        self._on_end = on_end
        self._is_stopped = False
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'ros_ood_monitor', 'build-engine', '--progress', *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,  # Ctrl-C is for whoever started it, who then stops it
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST_PRIORITY)
        self._thread = threading.Thread(target=self._read, name='build', daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def stop(self) -> None:
        """End the process, hard if it must be; what it had not finished leaves nothing."""
        self._is_stopped = True
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_TIMEOUT_S)

    def _read(self) -> None:
        said = ''
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                found = PROGRESS.fullmatch(line.strip())
                if found:
                    self.progress = f'{found[1]}, {found[2]} %'
                else:
                    said = line.strip() or said
        code = self._process.wait()
        if self._is_stopped:
            return
        if code < 0:
            said = f'the build was ended by signal {-code}'
        self._on_end(said.removeprefix('ood_monitor: error: ') if code else '')
