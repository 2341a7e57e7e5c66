"""The thread that writes recordings, so that nobody else waits for a disk."""

from __future__ import annotations

import contextlib
from pathlib import Path
import queue
import shutil
import tempfile
import threading
import time
from typing import Final, NamedTuple, Protocol

from ros_ood_monitor.errors import BagError
from ros_ood_monitor.recorder.bag_folder import BagFolder, bring_back
from ros_ood_monitor.recorder.disk import make_room, plain_name, size_of
from ros_ood_monitor.recorder.limits import Limits
from ros_ood_monitor.recorder.recordings import Recording
from ros_ood_monitor.recorder.ring import Entry
from ros_ood_monitor.recorder.summary import Summary

__all__ = ['Writer', 'WriterEvents']

_LOOK_S: Final = 0.5  # how often the clock is looked at while a recording is open
_LOOK_BYTES: Final = 8 * 2**20  # how often the disk is


class _Search(NamedTuple):
    limits: Limits


class _Begin(NamedTuple):
    limits: Limits
    summary: Summary


class _End(NamedTuple):
    why: str


class _Stop(NamedTuple):
    pass


class WriterEvents(Protocol):
    """What a writer tells, from its own thread."""

    def on_taken(self, entry: Entry, *, is_written: bool) -> None:
        """Take note that an entry needs no memory any more."""

    def on_over(self, summary: Summary, why: str) -> None:
        """End a recording, where it is still the open one."""

    def on_look(self) -> None:
        """Look at the clock: a recording is open and nothing comes."""

    def on_folder(self, folder: Path, problem: str) -> None:
        """Take note of why a folder cannot take recordings; empty where it can."""

    def on_done(self, summary: Summary, path: Path | None, problem: str) -> None:
        """Take note of a recording's folder, or why there is none."""


class Writer:
    """
    Writes one recording after the other, from a queue that its owner bounds.

    Parameters
    ----------
    node : str
        Full name of the node.
    events : WriterEvents
        Who is told.

    Attributes
    ----------
    disk_bytes : int
        Size of the node's recordings that nobody has marked, as it was seen last.

    """

    def __init__(self, node: str, events: WriterEvents) -> None:
        self._node = node
        self._events = events
        self._queue: queue.SimpleQueue[Entry | _Search | _Begin | _End | _Stop]
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name='record', daemon=True)
        self._hurry_at = float('inf')
        self._bag: BagFolder | None = None
        self._begun: _Begin | None = None
        self._is_over = False  # the end was asked for, and is on the queue
        self._written = self._looked = 0
        self.disk_bytes = 0
        self._thread.start()

    def search(self, limits: Limits) -> None:
        """
        Tell whether the folder can take recordings.

        What a killed process left there is brought back, and kept in its limit.
        """
        self._queue.put(_Search(limits))

    def begin(self, limits: Limits, summary: Summary) -> None:
        """Open a recording behind what is on the queue."""
        self._queue.put(_Begin(limits, summary))

    def write(self, entry: Entry) -> None:
        """Write an entry into the recording that was begun last."""
        self._queue.put(entry)

    def end(self, why: str) -> None:
        """Finish that recording."""
        self._queue.put(_End(why))

    def stop(self, timeout: float) -> bool:
        """
        Finish what is on the queue and end the thread.

        Parameters
        ----------
        timeout : float
            Longest wait, in s. After half of it what is not written yet is dropped, so that the
            bag can be finished.

        Returns
        -------
        bool
            False where the disk has not come back; the thread is then left to itself.

        """
        self._hurry_at = time.monotonic() + timeout / 2
        self._queue.put(_Stop())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                task = self._queue.get(timeout=None if self._bag is None else _LOOK_S)
            except queue.Empty:
                task = None
            if isinstance(task, _Stop):
                return
            try:
                if task is None:
                    self._events.on_look()
                else:
                    self._do(task)
            except Exception as error:  # noqa: BLE001, evidence is lost, the node goes on
                self._lose(error)

    def _do(self, task: Entry | _Search | _Begin | _End) -> None:
        if isinstance(task, Entry):
            before = self._written
            try:
                self._write(task)
            finally:
                self._events.on_taken(task, is_written=self._written > before)
        elif isinstance(task, _Search):
            self._search(task.limits)
        elif isinstance(task, _Begin):
            self._begin(task)
        elif self._bag is not None and self._begun is not None:
            bag, self._bag = self._bag, None
            limits, summary = self._begun
            path = bag.close(summary.facts(task.why))
            self._prune(path.parent, limits.max_disk, coming=size_of(path), new=path)
            self._events.on_done(summary, path, '')

    def _search(self, limits: Limits) -> None:
        assert limits.folder is not None
        problem = ''
        try:
            limits.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=limits.folder):  # rights alone do not tell
                pass
            bring_back(limits.folder, self._node)
            self._prune(limits.folder, limits.max_disk)
            _check_free(limits.folder, limits)
        except Exception as error:  # noqa: BLE001, told, and tried anew by the next recording
            problem = _words(error, limits.folder)
        self._events.on_folder(limits.folder, problem)

    def _begin(self, task: _Begin) -> None:
        self._begun, self._is_over, self._written, self._looked = task, False, 0, 0
        limits, summary = task
        assert limits.folder is not None
        limits.folder.mkdir(parents=True, exist_ok=True)
        self._prune(limits.folder, limits.max_disk)
        _check_free(limits.folder, limits)
        self._bag = BagFolder(limits.folder, self._node, summary)

    def _write(self, entry: Entry) -> None:
        if self._begun is None or self._bag is None:
            return  # the recording was lost, which has been told
        limits, summary = self._begun
        if self._is_over or time.monotonic() > self._hurry_at:
            summary.dropped += 1
            return
        try:
            data = entry.message.serialize()
        except Exception:  # noqa: BLE001, one message, and not the recording
            summary.dropped += 1
            return
        self._bag.write(entry.message, data, entry.stamp)
        summary.add(entry)
        self._written += len(data)
        self._look_at_disk(limits, summary)

    def _look_at_disk(self, limits: Limits, summary: Summary) -> None:
        assert limits.folder is not None
        problem = ''
        if limits.max_disk and self._written >= limits.max_disk:
            problem = 'record.max_disk is reached'
        elif self._written - self._looked >= _between_looks(limits):
            self._looked = self._written
            self._prune(limits.folder, limits.max_disk, coming=self._written)
            if shutil.disk_usage(limits.folder).free < limits.min_free:
                problem = 'the disk is full'
        if problem:
            self._is_over = True
            self._events.on_over(summary, problem)

    def _prune(
        self, folder: Path, max_disk: int, *, coming: int = 0, new: Path | None = None
    ) -> None:
        """Remove the oldest recordings, but not the new one, so that some more bytes fit."""
        limit = max(0, max_disk - coming) if max_disk else 2**63
        self.disk_bytes = coming + make_room(
            folder, limit, is_ours=lambda path: path != new and self._may_go(path)
        )

    def _may_go(self, path: Path) -> bool:
        try:
            recording = Recording.load(path)
        except BagError:
            return False
        # a name that a person gave says nothing about the age, and much about the worth
        is_as_made = path.name.startswith(f'{plain_name(self._node)}_')
        return is_as_made and recording.node == self._node and not recording.mark

    def _lose(self, error: Exception) -> None:
        bag, self._bag = self._bag, None
        if bag is not None:
            with contextlib.suppress(Exception):
                bag.abort()
        if self._begun is not None:
            self._events.on_done(self._begun.summary, None, _words(error))


def _check_free(folder: Path, limits: Limits) -> None:
    free = shutil.disk_usage(folder).free
    if free < limits.min_free:
        msg = f'the disk is full ({free / 2**20:.1f} MiB free): {folder}'
        raise OSError(msg)


def _words(error: Exception, place: Path | None = None) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = place or error.filename
        return error.strerror + (f': {where}' if where else '')
    return str(error) or type(error).__name__


def _between_looks(limits: Limits) -> int:
    """Return how many bytes are written without a look at the disk; small beside all limits."""
    small = (limits.min_free // 2, limits.max_disk // 16)
    return min(_LOOK_BYTES, *(size or _LOOK_BYTES for size in small))
