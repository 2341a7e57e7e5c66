"""Limits that an evaluation has to keep, for the CI of a robot's software."""

from __future__ import annotations

from collections.abc import Mapping
import difflib
import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.words import plain

__all__ = ['GateOutcome', 'Limit', 'Shortfall', 'check_gate', 'hold_gate', 'read_gate']

_SIDES = ('min', 'max')


class Limit(NamedTuple):
    """The least and the most that a figure may be."""

    least: float = -math.inf
    most: float = math.inf


class Shortfall(NamedTuple):
    """A figure outside of its limit; ``measured`` is None where it could not be measured."""

    name: str
    measured: float | None
    limit: Limit

    def __str__(self) -> str:
        """Return what fell short, by how much."""
        if self.measured is None:
            return f'{self.name}: not measured, needed {_words(self.limit)}'
        low = self.measured < self.limit.least
        by = self.limit.least - self.measured if low else self.measured - self.limit.most
        return (
            f'{self.name}: {self.measured:.6g}, needed {_words(self.limit)}; missed by {plain(by)}'
        )


class GateOutcome(NamedTuple):
    """How many limits there were, those not kept, and why they could not be held at all."""

    limits: int
    short: tuple[Shortfall, ...] = ()
    error: str = ''

    @property
    def is_kept(self) -> bool:
        """Return whether every limit was kept."""
        return not self.short and not self.error

    @property
    def headline(self) -> str:
        """Return what came of it in a few words."""
        if self.error:
            return f'Gate FAILED: {self.error}'
        if self.short:
            return f'Gate FAILED: {len(self.short)} of {self.limits} limits'
        return f'Gate: all {self.limits} limits kept'

    def facts(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            'limits': self.limits,
            'kept': self.is_kept,
            'short': [str(one) for one in self.short],
            'error': self.error,
        }


def hold_gate(facts: Mapping[str, Any], gate: Mapping[str, Limit]) -> GateOutcome | None:
    """
    Hold figures against limits, for who has other things to do before an error is raised.

    Parameters
    ----------
    facts, gate
        As for `check_gate`.

    Returns
    -------
    GateOutcome or None
        None where there are no limits.

    """
    if not gate:
        return None
    try:
        return GateOutcome(len(gate), tuple(check_gate(facts, gate)))
    except ParameterError as error:
        return GateOutcome(len(gate), error=str(error))


def _words(limit: Limit) -> str:
    sides = zip(('at least', 'at most'), limit, strict=True)
    return ' and '.join(f'{word} {value:.6g}' for word, value in sides if math.isfinite(value))


def read_gate(path: str | Path) -> dict[str, Limit]:
    """
    Read a file of limits.

    Parameters
    ----------
    path : str or Path
        YAML: for each dotted name of a figure a mapping with ``min``, ``max`` or both.

    Returns
    -------
    dict of str to Limit
        By name.

    Raises
    ------
    ParameterError
        If it cannot be read, or is something else.

    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = getattr(error, 'strerror', None) or ' '.join(str(error).split())
        msg = f'gate could not be read ({what}): {path}'
        raise ParameterError(msg) from error
    if not isinstance(found, dict) or not found:
        msg = f"gate must be a mapping such as 'together.frames.auroc: {{min: 0.9}}': {path}"
        raise ParameterError(msg)
    return {str(name): _limit(str(name), sides, path) for name, sides in found.items()}


def _limit(name: str, sides: Any, path: str | Path) -> Limit:
    known = isinstance(sides, dict) and bool(sides) and set(sides) <= set(_SIDES)
    values = list(sides.values()) if known else []
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not known or not numbers or not all(map(math.isfinite, values)):
        msg = f'limit of {name!r} must be a mapping of min, max or both, got {sides!r}: {path}'
        raise ParameterError(msg)
    limit = Limit(float(sides.get('min', -math.inf)), float(sides.get('max', math.inf)))
    if limit.least > limit.most:
        msg = f'limit of {name!r} cannot be kept: min {limit.least:g}, max {limit.most:g}: {path}'
        raise ParameterError(msg)
    return limit


def check_gate(facts: Mapping[str, Any], gate: Mapping[str, Limit]) -> list[Shortfall]:
    """
    Hold figures against limits.

    Parameters
    ----------
    facts : mapping
        What an evaluation's JSON holds. A name leads through it, its parts joined by dots; rows
        of a list go by their ``name``, ends of an interval by ``low`` and ``high``.
    gate : mapping of str to Limit
        From `read_gate`.

    Returns
    -------
    list of Shortfall
        What is outside of its limit or could not be measured; empty where all is well.

    Raises
    ------
    ParameterError
        If a name leads nowhere, or to something that is no figure.

    """
    names = dict(_figures(facts))
    short = []
    for name, limit in gate.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            meant = f'; near it: {", ".join(near)}' if near else ''
            msg = f'gate names an unknown figure: {name!r}{meant}'
            raise ParameterError(msg)
        value = names[name]
        if value is None or not limit.least <= value <= limit.most:
            short.append(Shortfall(name, value, limit))
    return short


def _figures(found: Any, name: str = '') -> list[tuple[str, float | None]]:
    """List every figure by its dotted name."""
    if found is None and name.endswith('_95'):
        return [(f'{name}.{end}', None) for end in ('low', 'high')]
    if found is None or (isinstance(found, (int, float)) and not isinstance(found, bool)):
        return [(name, found)]
    parts: list[tuple[str, Any]] = []
    if isinstance(found, Mapping):
        parts = [(str(key), value) for key, value in found.items()]
    elif isinstance(found, (list, tuple)):
        is_interval = len(found) == 2 and name.endswith('_95')
        if is_interval:
            parts = list(zip(('low', 'high'), found, strict=True))
        else:
            parts = [
                (row['name'], row) for row in found if isinstance(row, Mapping) and 'name' in row
            ]
    return [
        one for key, value in parts for one in _figures(value, f'{name}.{key}' if name else key)
    ]
