"""
Recordings on disk: a bag's folder with a summary beside the bag's own files.

``recording.json`` says what was recorded and why, and what a person said of it afterwards. A
folder with this file is a recording; its bag is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any, Final

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.json_values import finite

__all__ = [
    'FORMAT',
    'MARKS',
    'SUMMARY',
    'Recording',
    'find_recordings',
    'is_recording',
    'mark_recording',
    'to_json',
]

SUMMARY: Final = 'recording.json'
FORMAT: Final = 'ros_ood_monitor recording 1'
MARKS: Final = ('id', 'ood')


@dataclass(frozen=True)
class Recording:
    """
    One recording.

    Parameters
    ----------
    path : Path
        Its folder.
    facts : mapping
        Its summary.

    """

    path: Path
    facts: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path | str) -> Recording:
        """
        Read the summary of a recording.

        Parameters
        ----------
        path : Path or str
            Its folder.

        Returns
        -------
        Recording
            What it says of itself.

        Raises
        ------
        BagError
            If it is no recording or its summary cannot be read.

        """
        path = Path(path)
        file = path / SUMMARY
        try:
            facts = json.loads(file.read_text(encoding='utf-8'))
        except FileNotFoundError as error:
            msg = f'folder is no recording of an alert: expected a {SUMMARY} in it: {path}'
            raise BagError(msg) from error
        except OSError as error:
            msg = f'summary of a recording cannot be read ({error.strerror or error}): {file}'
            raise BagError(msg) from error
        except ValueError as error:
            msg = f'summary of a recording is damaged ({error}): {file}'
            raise BagError(msg) from error
        if not isinstance(facts, dict) or facts.get('format') != FORMAT:
            got = facts.get('format') if isinstance(facts, dict) else type(facts).__name__
            msg = f'summary is of another format: expected {FORMAT!r}, got {got!r}: {file}'
            raise BagError(msg)
        return cls(path, facts)

    @property
    def node(self) -> str:
        """Return the full name of the node that made it."""
        return str(self.facts.get('node', ''))

    @property
    def mark(self) -> str:
        """Return what a person said that it shows: ``id``, ``ood``, or empty."""
        mark = self.facts.get('mark')
        said = mark.get('shows') if isinstance(mark, dict) else None
        return said if said in MARKS else ''


def is_recording(path: Path) -> bool:
    """Tell whether a folder holds the summary of a recording."""
    return (path / SUMMARY).is_file()


def find_recordings(paths: Iterable[Path | str]) -> list[Recording]:
    """
    Find the recordings at and below some folders.

    Parameters
    ----------
    paths : iterable of Path or str
        Recordings, and folders that are searched recursively for them; hidden ones are left out,
        such as a recording that is still being written.

    Returns
    -------
    list of Recording
        By path, each once.

    Raises
    ------
    BagError
        If a path does not exist or holds no recording, or a summary cannot be read.

    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            msg = f'no such folder: expected a recording or a folder of recordings: {path}'
            raise BagError(msg)
        below = list(_below(path))
        if not below:
            msg = f'no recording found: expected folders with a {SUMMARY} at or below: {path}'
            raise BagError(msg)
        for recording in below:
            found.setdefault(os.path.realpath(recording), recording)
    return [Recording.load(path) for path in sorted(found.values())]


def mark_recording(path: Path | str, shows: str, *, note: str = '') -> Recording:
    """
    Write down what a person says that a recording shows; an earlier mark is replaced.

    Parameters
    ----------
    path : Path or str
        The recording's folder.
    shows : str
        ``id``: normal after all, to be trained on; ``ood``: rightly an alert; empty takes the
        mark away.
    note : str
        Anything worth remembering.

    Returns
    -------
    Recording
        As it is now.

    Raises
    ------
    BagError
        If it is no recording, or its summary cannot be written.
    ParameterError
        If ``shows`` is something else.

    """
    if shows not in ('', *MARKS):
        msg = f'unknown mark: expected one of {", ".join(MARKS)}, got {shows!r}'
        raise ParameterError(msg)
    recording = Recording.load(path)
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec='seconds')
    mark = {'shows': shows, 'note': note, 'time': now} if shows else None
    facts = {**recording.facts, 'mark': mark}
    try:
        with new_file(recording.path / SUMMARY) as aside:
            aside.write_text(to_json(facts), encoding='utf-8')
    except OSError as error:
        msg = f'mark cannot be written ({error.strerror or error}): {recording.path / SUMMARY}'
        raise BagError(msg) from error
    return Recording(recording.path, facts)


def to_json(facts: Mapping[str, Any]) -> str:
    """Return facts as strict JSON; numbers that are not finite are null."""
    return json.dumps(finite(facts), indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def _below(root: Path) -> Iterator[Path]:
    if is_recording(root):
        yield root
        return
    for place, folders, _ in os.walk(root):
        inner = [Path(place, name) for name in sorted(folders) if not name.startswith('.')]
        recordings = [path for path in inner if is_recording(path)]
        yield from recordings
        folders[:] = [path.name for path in inner if path not in recordings]
