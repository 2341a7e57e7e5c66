"""The file of labels that the page changes: read, checked, written whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
import math
from pathlib import Path
import threading
from typing import Any, Final

import yaml

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.labels import Label, LABELS, read_labels

__all__ = ['LabelFile']

_FIELDS: Final = {'start', 'end', 'kind', 'camera'}
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
    start : float
        Stamp of its first frame, in s.

    Raises
    ------
    ParameterError
        If the file is there and no file of labels, or no ``.yaml``.

    """

    def __init__(self, path: Path, bag: str, start: float) -> None:
        if path.suffix.lower() not in ('.yaml', '.yml'):
            msg = f'unknown kind of file: expected .yaml, got {path.suffix!r}: {path}'
            raise ParameterError(msg)
        self.path = path
        self._bag = bag
        self._lock = threading.Lock()
        self._was_there = path.exists()
        there = read_labels(path) if self._was_there else ()
        self._others = [label for label in there if label.bag not in ('', bag)]
        mine = [label for label in there if label.bag in ('', bag)]
        self.labels = [_on_stamps(label, start) for label in mine]

    @staticmethod
    def beside(bag: Path) -> Path:
        """Return where `evaluate` looks for the labels of a bag."""
        bag = bag.resolve()
        return (bag if bag.is_dir() else bag.parent) / LABELS

    def plain(self) -> list[dict[str, Any]]:
        """Return the bag's labels as plain values."""
        return [
            {name: getattr(label, name) for name in ('start', 'end', 'kind', 'camera')}
            for label in self.labels
        ]

    def save(self, rows: Any) -> int:
        """
        Take other labels for the bag, and write the file.

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
        with self._lock:
            if not labels and not self._was_there:
                self.path.unlink(missing_ok=True)
            else:
                self._write(sorted(labels, key=lambda label: (label.start, label.camera)))
            self.labels = labels
        return len(labels)

    def _write(self, labels: Sequence[Label]) -> None:
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
            for one in self._others
        ]
        text = _HEAD + yaml.safe_dump(rows, sort_keys=False, allow_unicode=True)
        try:
            with new_file(self.path) as aside:
                aside.write_text(text, encoding='utf-8')
        except OSError as error:
            msg = f'labels could not be written ({error.strerror or error}): {self.path}'
            raise ParameterError(msg) from error


def _on_stamps(label: Label, start: float) -> Label:
    if label.time == 'stamp':
        return label
    return replace(label, start=label.start + start, end=label.end + start, time='stamp')


def _label(row: Any) -> Label:
    if not isinstance(row, Mapping) or not set(row) <= _FIELDS:
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
