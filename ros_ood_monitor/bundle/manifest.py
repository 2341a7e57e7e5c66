"""
A bundle's ``manifest.yaml``: what it expects, what it answers, where it comes from.

``docs/bundle_format.md`` describes every key for people. Keys this version does not know are kept
and ignored, so that a bundle may carry more; a higher ``format`` is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any, Final, TypeVar

import yaml

from ros_ood_monitor.errors import BundleError
from ros_ood_monitor.preprocess import RESIZE_RULE

__all__ = ['FORMAT_VERSION', 'MOST_BITS', 'Manifest', 'Tap', 'Tolerance', 'parse_manifest']

FORMAT_VERSION = 1
"""Highest bundle format that this version reads, and the one it writes."""

MOST_BITS: Final = 63
"""Of a whole number in a manifest, beside its sign."""

_DEEPEST: Final = 32
_MOST: Final = 1_000_000
"""Levels and values of a manifest: far over any real one, and far under what stalls a reader."""

_T = TypeVar('_T')


@dataclass(frozen=True)
class Tap:
    """
    One stage of the backbone whose pooled features are scored.

    Parameters
    ----------
    name : str
        The stage as the backbone's library names it.
    output : str
        Name of the backbone's output and of the scorer's input.
    channels : int
        Feature width.
    reduction : int
        Input pixels per cell of the stage's grid, in px.
    density : str
        Kind of density that scores the stage.

    """

    name: str
    output: str
    channels: int
    reduction: int
    density: str


@dataclass(frozen=True)
class Tolerance:
    """
    How far an engine may be from a golden.

    Parameters
    ----------
    absolute, relative : float
        A golden passes where its error is at most ``absolute + relative * abs(raw_score)``.
    map_absolute : float
        Its map passes where it has the same cells and the root mean square of their errors is at
        most ``map_absolute + relative * rms(patch_score)``; infinity where nothing is stated.

    """

    absolute: float
    relative: float
    map_absolute: float = math.inf


@dataclass(frozen=True)
class Manifest:
    """
    The facts of a manifest that the online side works with; ``raw`` holds all of it.

    Parameters
    ----------
    name : str
        Name of the bundle, for people.
    input_height, input_width : int
        Input size of the network, in px.
    tiles : tuple of int
        Rows and columns of equal parts that the backbone cuts its input into.
    taps : tuple of Tap
        Stages, in the order of the scorer's inputs.
    map_taps : tuple of Tap
        Stages that the map is made of; none where nothing is stated.
    unit : str
        Unit of raw_score.
    precisions : tuple of str
        Precisions the bundle holds a backbone, a calibration and goldens for.
    verify : dict of str to Tolerance
        Tolerance of the goldens, by precision.
    digests : dict of str to str
        SHA-256 of every other file.
    digest : str
        What the content of the bundle is said to have.
    health : dict or None
        What the training frames' health was; None in older bundles. See `health.HealthLimits`.
    raw : dict
        The manifest as read.

    """

    name: str
    input_height: int
    input_width: int
    tiles: tuple[int, int]
    taps: tuple[Tap, ...]
    map_taps: tuple[Tap, ...]
    unit: str
    precisions: tuple[str, ...]
    verify: dict[str, Tolerance]
    digests: dict[str, str]
    digest: str
    health: dict[str, Any] | None
    raw: dict[str, Any]

    @property
    def input_text(self) -> str:
        """Return the input size for people, with what it is cut into."""
        rows, columns = self.tiles
        size = f'{self.input_width}x{self.input_height}'
        if rows * columns == 1:
            return size
        tile = f'{self.input_width // columns}x{self.input_height // rows}'
        return f'{size} in {rows}x{columns} tiles of {tile}, each a run of the backbone'


def _get(node: Mapping[str, Any], dotted: str, kind: type[_T]) -> _T:
    """Return a value by its dotted name, or say which one is missing or of the wrong type."""
    value: Any = node
    for part in dotted.split('.'):
        if not isinstance(value, Mapping) or part not in value:
            msg = f'manifest lacks {dotted!r}; re-export the bundle'
            raise BundleError(msg)
        value = value[part]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        got = type(value).__name__
        msg = f'manifest key {dotted!r} has the wrong type: expected {kind.__name__}, got {got}'
        raise BundleError(msg)
    return value


def parse_manifest(text: str) -> Manifest:
    """
    Read a manifest; refusals do not name the file, which only the caller knows.

    Parameters
    ----------
    text : str
        YAML.

    Returns
    -------
    Manifest
        The checked facts.

    Raises
    ------
    BundleError
        If it is no YAML mapping, of a newer format, or lacks something.

    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f'manifest is no YAML: {_one_line(error)}; copy the bundle again'
        raise BundleError(msg) from error
    except Exception as error:  # dates, numbers and depths that the reader stumbles on
        msg = (
            f'manifest is not readable: expected plain YAML, got {type(error).__name__}: '
            f'{" ".join(str(error).split())}; copy the bundle again'
        )
        raise BundleError(msg) from error
    if not isinstance(raw, dict):
        msg = f'manifest must be a mapping, got {type(raw).__name__}'
        raise BundleError(msg)
    _check_plain(raw)
    version = _get(raw, 'format', int)
    if version > FORMAT_VERSION:
        msg = (
            f'bundle format is too new: this version reads up to {FORMAT_VERSION}, '
            f'got {version}; update ros_ood_monitor'
        )
        raise BundleError(msg)
    if version < 1:
        msg = f'bundle format must be at least 1, got {version}'
        raise BundleError(msg)
    rule = _get(raw, 'input.resize', str)
    if rule != RESIZE_RULE:
        msg = f'resize rule is unknown: expected {RESIZE_RULE!r}, got {rule!r}'
        raise BundleError(msg)
    color = _get(raw, 'input.color', str)
    if color != 'rgb':
        msg = f"input colour order is unknown: expected 'rgb', got {color!r}"
        raise BundleError(msg)
    taps = tuple(_tap(tap) for tap in _get(raw, 'features.taps', list))
    map_taps: tuple[Tap, ...] = ()
    if 'map' in raw:
        density = _get(raw, 'map.density', str)
        map_taps = tuple(_tap(tap, density) for tap in _get(raw, 'map.taps', list))
    precisions = tuple(str(name) for name in _get(raw, 'precisions', list))
    if not taps or not precisions:
        msg = f'manifest needs a tap and a precision, got {len(taps)} and {len(precisions)}'
        raise BundleError(msg)
    height = _get(raw, 'input.height', int)
    width = _get(raw, 'input.width', int)
    if height < 1 or width < 1:
        msg = f'manifest input size must be at least 1x1, got {width}x{height}'
        raise BundleError(msg)
    return Manifest(
        name=_get(raw, 'name', str),
        input_height=height,
        input_width=width,
        tiles=_tiles(raw, height, width),
        taps=taps,
        map_taps=map_taps,
        unit=_get(raw, 'outputs.raw_score.unit', str),
        precisions=precisions,
        verify={name: _tolerance(raw, name) for name in precisions},
        digests={str(k): str(v) for k, v in _get(raw, 'digests', dict).items()},
        digest=_get(raw, 'digest', str),
        health=_get(raw, 'health', dict) if 'health' in raw else None,
        raw=raw,
    )


def _tiles(raw: Mapping[str, Any], height: int, width: int) -> tuple[int, int]:
    if 'tiles' not in raw['input']:
        return 1, 1
    stated = _get(raw, 'input.tiles', list)
    if [type(part) for part in stated] != [int, int] or min(stated) < 1:
        msg = f"manifest key 'input.tiles' must be rows and columns, got {stated}"
        raise BundleError(msg)
    rows, columns = stated
    if height % rows or width % columns:
        msg = f'manifest input of {width}x{height} has no {rows}x{columns} equal tiles'
        raise BundleError(msg)
    return rows, columns


def _check_plain(raw: dict[Any, Any]) -> None:
    """Refuse what has no end, no order or no sensible size; an alias may be any of these."""
    level: list[Any] = [raw]
    values = 0
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict) and len({isinstance(key, str) for key in node}) > 1:
                odd = next(key for key in node if not isinstance(key, str))
                msg = f'manifest keys must be text, got {odd!r}; re-export the bundle'
                raise BundleError(msg)
            values += len(node)
            if values > _MOST:
                msg = f'manifest is too large: expected at most {_MOST} values; copy it again'
                raise BundleError(msg)
            held = list(node.values()) if isinstance(node, dict) else list(node)
            whole = (value for value in (*node, *held) if isinstance(value, int))
            if any(value.bit_length() > MOST_BITS for value in whole):
                msg = f'manifest holds a number with more than {MOST_BITS} bits; copy it again'
                raise BundleError(msg)
            below.extend(value for value in held if isinstance(value, (dict, list, tuple)))
        if not below:
            return
        level = below
    msg = f'manifest is nested too deeply: expected at most {_DEEPEST} levels; copy it again'
    raise BundleError(msg)


def _tap(node: Any, density: str = '') -> Tap:
    """Return a stage; where ``density`` is given it is that of all stages."""
    return Tap(
        name=_get(node, 'name', str),
        output=_get(node, 'output', str),
        channels=_get(node, 'channels', int),
        reduction=_get(node, 'reduction', int),
        density=density or _get(node, 'density', str),
    )


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, 'problem_mark', None)
    problem = getattr(error, 'problem', None) or ' '.join(str(error).split())
    return f'{problem} in line {mark.line + 1}, column {mark.column + 1}' if mark else problem


def _tolerance(raw: Mapping[str, Any], precision: str) -> Tolerance:
    """Return a precision's own tolerance, or the common one where it has none."""
    own = precision in _get(raw, 'verify', dict)
    where = f'verify.{precision}' if own else 'verify'
    given = {name: _get(raw, f'{where}.{name}', float) for name in ('absolute', 'relative')}
    stated = raw['verify'][precision] if own else raw['verify']
    if 'map_absolute' in stated:
        given['map_absolute'] = _get(raw, f'{where}.map_absolute', float)
    for name, value in given.items():
        if not 0.0 <= value < math.inf:  # also where it is NaN
            msg = f"manifest key '{where}.{name}' must be at least 0 and finite, got {value}"
            raise BundleError(msg)
    return Tolerance(**given)
