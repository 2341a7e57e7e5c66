"""
Training settings as a YAML file: every key of `TrainSettings`, none of them required.

``config/training/`` holds examples, and a bundle's ``training.yaml`` is the file of its own
training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import difflib
from pathlib import Path
import re
import types
from typing import Any, get_args, get_origin, get_type_hints, TypeVar, Union

import yaml

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import PLACES, TrainSettings

__all__ = ['read_config', 'settings_from', 'to_yaml']

_T = TypeVar('_T')
_PRESET = 'preset'
_EXPONENT = re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+')


def read_config(path: Path | str) -> dict[str, Any]:
    """
    Read a training file.

    Parameters
    ----------
    path : Path or str
        YAML.

    Returns
    -------
    dict
        Its keys and values, not checked yet.

    Raises
    ------
    TrainingError
        If it cannot be read or is no YAML mapping.

    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        msg = f'training file cannot be read ({error.strerror or error}): {path}'
        raise TrainingError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, 'problem_mark', None)
        where = f' at line {mark.line + 1}' if mark else ''
        msg = f'training file is no YAML{where}: {path}'
        raise TrainingError(msg) from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        msg = f'training file must be a mapping, got {type(raw).__name__}: {path}'
        raise TrainingError(msg)
    return raw


def settings_from(
    config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> TrainSettings:
    """
    Return settings from a file's values and what is given on top of them.

    Parameters
    ----------
    config : mapping
        From `read_config`. ``flow.preset`` names what the other keys of ``flow`` change.
    overrides : mapping, optional
        Values by dotted key, such as ``flow.steps``; they win.

    Returns
    -------
    TrainSettings
        Every value of its type; ranges are checked by ``TrainSettings.check``.

    Raises
    ------
    TrainingError
        If a key is unknown or a value has another type; the message lists what is allowed.

    """
    merged = _merged(config, overrides or {})
    places = {}
    for name in PLACES:
        value = merged.pop(name, ())
        if not isinstance(value, (list, tuple)):
            msg = f'training key {name!r} has the wrong type: expected list, got {value!r}'
            raise TrainingError(msg)
        places[name] = tuple(value)
    settings = _read(TrainSettings, merged, '')
    return dataclasses.replace(settings, data=places['data'], wild=places['wild'])


def to_yaml(settings: TrainSettings) -> str:
    """
    Return the file of some settings; where the data lies is left out.

    Parameters
    ----------
    settings : TrainSettings
        What was used.

    Returns
    -------
    str
        YAML that `read_config` takes.

    """
    return yaml.safe_dump(settings.card(), sort_keys=False, allow_unicode=True, width=99)


def _merged(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()
    }
    for dotted, value in overrides.items():
        *parents, key = dotted.split('.')
        place = merged
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                msg = f'training key {parent!r} must be a mapping, got {inner!r}'
                raise TrainingError(msg)
            place = inner
        place[key] = value
    return merged


def _read(kind: Callable[..., _T], values: Any, where: str) -> _T:
    if not isinstance(values, Mapping):
        msg = f'training key {where!r} must be a mapping, got {values!r}'
        raise TrainingError(msg)
    hints = get_type_hints(kind)
    for hidden in PLACES:
        hints.pop(hidden, None)
    if kind is FlowSettings:
        hints = {_PRESET: str, **hints}
        del hints['name']  # which a preset sets
    given = {}
    for name, value in values.items():
        dotted = f'{where}.{name}' if where else str(name)
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1)
            meant = f'; did you mean {dotted.removesuffix(str(name))}{near[0]}?' if near else ''
            msg = (
                f'training key is unknown: expected one of {", ".join(hints)}, '
                f'got {dotted!r}{meant}'
            )
            raise TrainingError(msg)
        given[name] = _value(hints[name], value, dotted)
    if kind is FlowSettings:
        preset = given.pop(_PRESET, 'default')
        return FlowSettings.preset(preset, **given)  # type: ignore[return-value]
    return kind(**given)


def _value(hint: Any, value: Any, dotted: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, dotted)  # type: ignore[arg-type]
    for kind in _kinds(hint):
        if kind is type(None) and value is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
            return float(value)  # YAML 1.1 reads a number without a point as text
        if kind is list and isinstance(value, (list, tuple)):
            return tuple(str(item) for item in value)
        if kind in (int, float, str, bool) and type(value) is kind:
            return value
    wanted = ' or '.join(
        {type(None): 'null', list: 'list'}.get(kind, getattr(kind, '__name__', str(kind)))
        for kind in _kinds(hint)
    )
    msg = f'training key {dotted!r} has the wrong type: expected {wanted}, got {value!r}'
    raise TrainingError(msg)


def _kinds(hint: Any) -> list[Any]:
    """Return the plain types that a hint allows; any sequence is a list in a file."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for inner in get_args(hint) for kind in _kinds(inner)]
    if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), object):
        return [list]
    return [hint]
