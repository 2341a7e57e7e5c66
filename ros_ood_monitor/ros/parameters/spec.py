"""One row of the table of parameters, and which values it allows."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Literal

from ros_ood_monitor.errors import ParameterError

__all__ = ['Applies', 'ParameterSpec', 'Value', 'check_value']

Value = bool | int | float | str | tuple[str, ...]
Applies = Literal['start', 'configure', 'live']


@dataclass(frozen=True)
class ParameterSpec:
    """
    One row of the table.

    Parameters
    ----------
    name : str
        Dotted name.
    default : bool, int, float, str or tuple of str
        Default; its type is the parameter's type.
    description : str
        One sentence, without the range.
    unit : str
        SI unit or empty.
    minimum, maximum : float or None
        Inclusive range of a number; where the default is NaN, that is allowed, too.
    choices : tuple of str
        The allowed strings; empty where any is.
    applies : {'start', 'configure', 'live'}
        When a change takes effect: ``start`` is read-only at run time, ``configure`` may be set
        while the node is unconfigured, ``live`` at any time.

    """

    name: str
    default: Value
    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    applies: Applies = 'configure'

    @property
    def type_name(self) -> str:
        """Name of the type as ROS spells it."""
        names: dict[type, str] = {
            bool: 'bool',
            int: 'integer',
            float: 'double',
            str: 'string',
            tuple: 'string array',
        }
        return names[type(self.default)]

    @property
    def is_left_to_bundle(self) -> bool:
        """Whether the default is NaN, which takes the bundle's value."""
        return isinstance(self.default, float) and math.isnan(self.default)

    @property
    def constraint(self) -> str:
        """Range or choices, for people; empty where anything of the type goes."""
        if self.choices:
            return ' | '.join(choice or "''" for choice in self.choices)
        if self.minimum is not None and self.maximum is not None:
            return f'{self.minimum:g} to {self.maximum:g}'
        return ''


def check_value(spec: ParameterSpec, value: object) -> None:
    """
    Refuse a value that the table does not allow.

    Parameters
    ----------
    spec : ParameterSpec
        The row.
    value : object
        The value to check.

    Raises
    ------
    ParameterError
        If its type, range or choice is wrong.

    """
    if not _is_of_type(value, spec.default):
        such = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        msg = (
            f'parameter {spec.name!r} has the wrong type: expected {spec.type_name} '
            f'(such as {such!r}), got {value!r}'
        )
        raise ParameterError(msg)
    if spec.choices and value not in spec.choices:
        msg = f'parameter {spec.name!r} must be one of {list(spec.choices)}, got {value!r}'
        raise ParameterError(msg)
    if spec.minimum is None or spec.maximum is None:
        return
    if spec.is_left_to_bundle and isinstance(value, float) and math.isnan(value):
        return
    # written so that NaN is refused
    if not (isinstance(value, (int, float)) and spec.minimum <= value <= spec.maximum):
        limits = f'{spec.constraint} {spec.unit}'.rstrip()
        msg = f'parameter {spec.name!r} must lie in {limits}, got {value!r}'
        raise ParameterError(msg)


def _is_of_type(value: object, default: Value) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value)
    return type(value) is type(default)
