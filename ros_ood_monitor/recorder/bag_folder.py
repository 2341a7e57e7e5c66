"""
One recording on its way to the disk.

It grows in a hidden folder, which is locked while its process lives, and appears under its name
when its bag is whole. What a process left behind when it was killed can be told by the lock that
nobody holds any more; it then appears as it is: an MCAP is read without its index, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
import shutil
from typing import Any, Final

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.errors import BagError
from ros_ood_monitor.recorder.disk import plain_name
from ros_ood_monitor.recorder.recordings import is_recording, Recording, SUMMARY, to_json
from ros_ood_monitor.recorder.ring import Message
from ros_ood_monitor.recorder.summary import INTERRUPTED, Summary

__all__ = ['BagFolder', 'bring_back']

_ACTIVE: Final = '.active'
_EMPTY: Final = 4096  # bytes; an MCAP without a chunk is smaller


class BagFolder:
    """
    Writes a recording's bag and summary.

    Parameters
    ----------
    folder : Path
        Where recordings go; made where it is missing.
    node : str
        Full name of the node.
    summary : Summary
        The summary so far, for the case that nothing more comes.

    Raises
    ------
    OSError
        If it cannot be made; nothing is left of it.

    """

    def __init__(self, folder: Path, node: str, summary: Summary) -> None:
        now = summary.created
        name = f'{plain_name(node)}_{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z'
        self._folder = folder
        self._name = name
        number = 1
        while (folder / self._name).exists() or self._active.exists():
            number += 1
            self._name = f'{name}_{number}'
        self._active.mkdir(parents=True)
        self._lock = -1
        try:
            self._write(self._active, summary.facts(INTERRUPTED))
            self._lock = _locked(self._active)
            self._bag = BagWriter(self._active / self._name)
        except BaseException:
            self._clear()
            raise

    @property
    def path(self) -> Path:
        """Return where the recording will be."""
        return self._folder / self._name

    @property
    def _active(self) -> Path:
        return self._folder / f'.{self._name}{_ACTIVE}'

    def write(self, message: Message, data: bytes, stamp: float) -> None:
        """
        Write a message.

        Parameters
        ----------
        message : Message
            Which one.
        data : bytes
            What it is as CDR.
        stamp : float
            Log time, in s.

        Raises
        ------
        BagError
            If the disk does not take it; nothing is left of the recording.

        """
        try:
            self._bag.write(message.topic, message.msgtype, data, stamp)
        except BagError:
            self.abort()
            raise

    def close(self, facts: dict[str, Any]) -> Path:
        """
        Finish the recording and give it its name.

        Parameters
        ----------
        facts : dict
            Its summary.

        Returns
        -------
        Path
            Its folder.

        Raises
        ------
        OSError
            If it cannot be finished; nothing is left of it.

        """
        try:
            self._bag.close()
            self._write(self._active / self._name, facts)
            (self._active / self._name).rename(self.path)
        finally:
            self._clear()
        return self.path

    def abort(self) -> None:
        """Drop what has been written."""
        self._bag.abort()
        self._clear()

    def _write(self, folder: Path, facts: dict[str, Any]) -> None:
        with new_file(folder / SUMMARY) as aside:
            aside.write_text(to_json(facts), encoding='utf-8')

    def _clear(self) -> None:
        shutil.rmtree(self._active, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def bring_back(folder: Path, node: str) -> None:
    """
    Give recordings that a killed process left behind their names; empty ones are removed.

    Their bags have no index and may lack the last moments.

    Parameters
    ----------
    folder : Path
        Where recordings go.
    node : str
        Full name of the node; others' are left alone.

    """
    for active in sorted(folder.glob(f'.{plain_name(node)}_*{_ACTIVE}')):
        with contextlib.suppress(OSError):  # a BagError is one
            recording = Recording.load(active)
            if recording.node != node:
                continue
            lock = _locked(active)
            try:
                _bring_back(active, recording)
            finally:
                os.close(lock)


def _bring_back(active: Path, recording: Recording) -> None:
    name = active.name[1 : -len(_ACTIVE)]
    # the bag is whole already where only the last step is missing
    parts = [*active.glob(name), *active.glob(f'.{name}.*/{name}')]
    for part in parts:
        if any(file.stat().st_size > _EMPTY for file in part.glob('*.mcap')):
            if not is_recording(part):
                with new_file(part / SUMMARY) as aside:
                    aside.write_text(to_json(recording.facts), encoding='utf-8')
            part.rename(active.parent / name)
            break
    shutil.rmtree(active, ignore_errors=True)


def _locked(folder: Path) -> int:
    """Lock a folder until its handle is closed or the process ends; OSError where it is locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
