"""Which stretches of a bag are out-of-distribution, from a file or said of the whole bag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import csv
from dataclasses import dataclass, fields, replace
import difflib
import math
from pathlib import Path
from typing import Any, Final

import yaml

from ros_ood_monitor.errors import ParameterError

__all__ = [
    'ALL_ID',
    'ALL_OOD',
    'CLOCKS',
    'KIND',
    'LABELS',
    'Label',
    'bag_name',
    'for_bag',
    'labels_beside',
    'labels_place',
    'read_labels',
]

LABELS: Final = 'labels.yaml'
"""Name of the file that is looked for in a bag's folder and beside it."""

CLOCKS: Final = ('stamp', 'bag', 'log')
"""What a label's times are: image stamps, seconds since a bag's first frame, log times."""

KIND: Final = 'ood'
"""What is called so where nobody says what it is."""

_IN_FILES: Final = CLOCKS[:2]


@dataclass(frozen=True)
class Label:
    """
    A stretch in which something foreign is seen.

    Parameters
    ----------
    start, end : float
        In s; a frame at ``start`` belongs to it, one at ``end`` no more.
    kind : str
        What it is.
    camera : str
        Name or topic of the camera; empty for every camera of the bag.
    bag : str
        Name of the bag; empty for the bag that the labels lie beside.
    time : str
        What its times are; see `CLOCKS`.

    Raises
    ------
    ParameterError
        If it is empty or a field has no meaning.

    """

    start: float
    end: float
    kind: str = KIND
    camera: str = ''
    bag: str = ''
    time: str = 'stamp'

    def __post_init__(self) -> None:
        if not self.start < self.end:
            msg = f'label must start before it ends, got {self.start} to {self.end}'
            raise ParameterError(msg)
        if self.time not in CLOCKS:
            msg = f'time of a label: expected one of {", ".join(_IN_FILES)}, got {self.time!r}'
            raise ParameterError(msg)
        if not self.kind:
            msg = f'label needs a kind: {self.start} to {self.end} has none'
            raise ParameterError(msg)


ALL_ID: Final[tuple[Label, ...]] = ()
"""Labels of a bag that shows nothing foreign."""

ALL_OOD: Final = (Label(-math.inf, math.inf, time='log'),)
"""Labels of a bag that shows it from its first frame to its last."""


def bag_name(bag: Path) -> str:
    """Return a bag's name, as labels have it: that of its folder, or of its file."""
    bag = bag.resolve()
    return bag.stem if bag.is_file() else bag.name


def labels_place(bag: Path) -> Path:
    """Return the file of a bag's labels: the one that is there, or else the one to make."""
    bag = bag.resolve()
    return labels_beside(bag) or (bag if bag.is_dir() else bag.parent) / LABELS


def labels_beside(bag: Path) -> Path | None:
    """
    Find the labels of a bag: ``labels.yaml`` in its folder, or beside it.

    Parameters
    ----------
    bag : Path
        A bag's folder, or one storage file.

    Returns
    -------
    Path or None
        The file, where there is one.

    """
    bag = bag.resolve()
    for file in (bag / LABELS, bag.parent / LABELS):
        if file.is_file():
            return file
    return None


def read_labels(path: Path) -> tuple[Label, ...]:
    """
    Read a file of labels.

    Parameters
    ----------
    path : Path
        YAML: a list of mappings with the fields of `Label`; or a mapping with such a list as
        ``labels`` and the ``time`` of all of them. CSV (``.csv``): a head, and a line for each.

    Returns
    -------
    tuple of Label
        In the order of the file; may be empty, which says that nothing foreign is seen.

    Raises
    ------
    ParameterError
        If the file cannot be read, a field is unknown or missing, or a value has no meaning.

    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, 'strerror', None) or error
        msg = f'labels could not be read ({what}): {path}'
        raise ParameterError(msg) from error
    try:
        rows = _csv_rows(text) if path.suffix.lower() == '.csv' else _yaml_rows(text)
        return tuple(_label(row, number) for number, row in enumerate(rows, start=1))
    except ParameterError as error:
        msg = f'{error}: {path}'
        raise ParameterError(msg) from error


def _yaml_rows(text: str) -> list[Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        what = ' '.join(str(error).split())
        msg = f'labels are no YAML: {what}'
        raise ParameterError(msg) from error
    shared: dict[str, Any] = {}
    if isinstance(found, dict):
        shared = {name: value for name, value in found.items() if name != 'labels'}
        _refuse_unknown(shared, ['time'], 'key beside labels')
        found = found.get('labels')
    if not isinstance(found, list):
        msg = (
            'labels must be a list of mappings with start, end, kind and camera, '
            f'got {type(found).__name__}'
        )
        raise ParameterError(msg)
    return [{**shared, **row} if isinstance(row, dict) else row for row in found]


def _csv_rows(text: str) -> list[Any]:
    table = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not table.fieldnames:
        columns = ', '.join(_NAMES)
        msg = (
            f'labels have no head: expected a line with {columns}, which alone says that nothing '
            'foreign is seen, got none'
        )
        raise ParameterError(msg)
    _refuse_unknown(table.fieldnames, _NAMES, 'column of labels')
    rows = []
    for number, row in enumerate(table, start=1):
        if None in row or None in row.values():
            msg = f'label {number} has not as many cells as the head'
            raise ParameterError(msg)
        rows.append({name: value.strip() for name, value in row.items() if value.strip()})
    return rows


def _label(row: Any, number: int) -> Label:
    if not isinstance(row, Mapping):
        msg = f'label {number} must be a mapping, got {row!r}'
        raise ParameterError(msg)
    _refuse_unknown(row, _NAMES, f'field of label {number}')
    values: dict[str, Any] = {}
    for name in ('start', 'end'):
        values[name] = _seconds(row.get(name))
        if not math.isfinite(values[name]):
            got = row.get(name)
            msg = f'{name} of label {number} must be a number of seconds, got {got!r}'
            raise ParameterError(msg)
    for name in ('kind', 'camera', 'bag', 'time'):
        if row.get(name) is not None:
            values[name] = str(row[name])
    try:
        label = Label(**values)
    except ParameterError as error:
        msg = f'label {number}: {error}'
        raise ParameterError(msg) from error
    if label.time not in _IN_FILES:
        msg = f'time of label {number}: expected {" or ".join(_IN_FILES)}, got {label.time!r}'
        raise ParameterError(msg)
    return label


def _seconds(value: Any) -> float:
    """Return a number, or NaN for what is none."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


_NAMES: Final = [field.name for field in fields(Label)]


def _refuse_unknown(names: Iterable[Any], known: Sequence[str], what: str) -> None:
    """Refuse a name that is none of the known ones, and say which one may have been meant."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            meant = f', did you mean {near[0]!r}?' if near else ''
            allowed = ', '.join(known)
            msg = f'unknown {what}: expected one of {allowed}, got {name!r}{meant}'
            raise ParameterError(msg)


def for_bag(
    labels: Iterable[Label], name: str, *, own: str, alone: bool, path: Path
) -> tuple[Label, ...]:
    """
    Return the labels of one bag.

    Parameters
    ----------
    labels : iterable of Label
        Of a file.
    name : str
        The bag, as it is called beside others.
    own : str
        Its own name (`bag_name`), which several may have.
    alone : bool
        Whether the file is read for this bag only, so that labels need not name it, and may use
        its own name.
    path : Path
        The file.

    Returns
    -------
    tuple of Label
        Those that name it, or name none.

    Raises
    ------
    ParameterError
        If it cannot be told whose a label is, or none is this bag's although there are some.

    """
    labels = list(labels)
    if not alone and any(not label.bag for label in labels):
        msg = f'labels of several bags must name their bag, some name none: {path}'
        raise ParameterError(msg)
    if not alone and own != name and any(label.bag == own for label in labels):
        msg = (
            f'labels name a bag {own!r}, and several are called so: name this one {name!r}, or '
            f'give each a {LABELS} of its own: {path}'
        )
        raise ParameterError(msg)
    names = ('', name, own) if alone else (name,)
    mine = tuple(replace(label, bag=name) for label in labels if label.bag in names)
    if labels and not mine:
        named = ', '.join(sorted({label.bag for label in labels}))
        msg = (
            f'labels do not name the bag {name!r} (they name {named}); where nothing foreign is '
            f'seen in it, give it to --all-id: {path}'
        )
        raise ParameterError(msg)
    return mine
