"""The file of labels that the page changes: read, checked, written whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from dataclasses import replace
import fcntl
import math
import os
from pathlib import Path
import threading
from typing import Any, Final

import yaml

from ros_ood_monitor.atomic import check_output, new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.labels import Label, read_labels

__all__ = ['LabelFile']

_FIELDS: Final = ('start', 'end', 'kind', 'camera')
_HEAD: Final = '# stretches in which something foreign is visible; image stamps, in s\n'


class LabelFile:
    """
    Labels of one bag in a file that may hold those of others.

    Parameters
    ----------
    path : Path
        The file; need not be there yet.
    bag : str
        Name of the bag.

    Raises
    ------
    ParameterError
        If the file is there and no file of labels, no ``.yaml``, or cannot be written.

    """

    def __init__(self, path: Path, bag: str) -> None:
        self.path = check_output(path, ('.yaml', '.yml'))
        self._bag = bag
        self._lock = threading.Lock()
        self._was_there = path.exists()
        self.labels = self._read(mine=True)

    def plain(self, start: float) -> list[dict[str, Any]]:
        """
        Return the bag's labels as plain values.

        Parameters
        ----------
        start : float
            Stamp of the bag's first image, from which ``time: bag`` counts, in s.

        Returns
        -------
        list of dict
            With ``start`` and ``end`` in s of image stamps, ``kind``, ``camera``.

        """
        stamped = [_on_stamps(label, start) for label in self.labels]
        return [{name: getattr(label, name) for name in _FIELDS} for label in stamped]

    def save(self, rows: Any) -> int:
        """
        Take other labels for the bag, and write the file.

        Labels of other bags stay as they are now in the file, which another page may write to.
        Without a label there is no file again where there was none: an empty one would say that
        nothing foreign is seen.

        Parameters
        ----------
        rows : list of dict
            With ``start`` and ``end`` in s of image stamps, ``kind``, ``camera``; of anybody, so
            they are checked.

        Returns
        -------
        int
            How many there are.

        Raises
        ------
        ParameterError
            If they are no labels, or the file cannot be written; it is then as it was.

        """
        if not isinstance(rows, list):
            msg = f'labels must be a list, got {type(rows).__name__}'
            raise ParameterError(msg)
        labels = [_label(row) for row in rows]
        with self._lock, self._alone():
            others = self._read(mine=False)
            if not labels and not others and not self._was_there:
                self.path.unlink(missing_ok=True)
            else:
                self._write(sorted(labels, key=lambda label: (label.start, label.camera)), others)
            self.labels = labels
        return len(labels)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing labels into the same folder, where it has locks."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise self._failed(error) from error
        try:
            with contextlib.suppress(OSError):  # NFS lends none to what is open for reading
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self, *, mine: bool) -> list[Label]:
        there = read_labels(self.path) if self.path.exists() else ()
        return [label for label in there if (label.bag in ('', self._bag)) == mine]

    def _write(self, labels: Sequence[Label], others: Sequence[Label]) -> None:
        rows = [
            {'start': one.start, 'end': one.end, 'kind': one.kind}
            | ({'camera': one.camera} if one.camera else {})
            | {'bag': self._bag}
            for one in labels
        ]
        rows += [
            {
                name: value
                for name, value in vars(one).items()
                if value != '' and (name, value) != ('time', 'stamp')
            }
            for one in others
        ]
        text = _HEAD + yaml.safe_dump(rows, sort_keys=False, allow_unicode=True)
        try:
            with new_file(self.path) as aside:
                aside.write_text(text, encoding='utf-8')
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> ParameterError:
        return ParameterError(
            f'labels could not be written ({error.strerror or error}): {self.path}'
        )


def _on_stamps(label: Label, start: float) -> Label:
    if label.time == 'stamp':
        return label
    return replace(label, start=label.start + start, end=label.end + start, time='stamp')


def _label(row: Any) -> Label:
    if not isinstance(row, Mapping) or not set(row) <= set(_FIELDS):
        msg = f'label must have start, end, kind and camera and nothing else, got {row!r}'
        raise ParameterError(msg)
    times = [row.get('start'), row.get('end')]
    start, end = (_seconds(time) for time in times)
    if not (math.isfinite(start) and math.isfinite(end)):
        msg = f'start and end of a label must be numbers of seconds, got {times}'
        raise ParameterError(msg)
    words = [row.get('kind', 'ood'), row.get('camera', '')]
    if not all(isinstance(word, str) and len(word) <= 200 for word in words):
        msg = f'kind and camera of a label must be short texts, got {words}'
        raise ParameterError(msg)
    return Label(start, end, words[0].strip(), words[1])


def _seconds(value: Any) -> float:
    """Return a number to the microsecond, or NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return round(float(value), 6)
    except OverflowError:
        return math.inf
