"""The parameter table as people read it: a commented YAML file and a Markdown table."""

from __future__ import annotations

import math
import textwrap
from typing import Final

from ros_ood_monitor.ros.parameters.spec import ParameterSpec
from ros_ood_monitor.ros.parameters.table import PARAMETERS

__all__ = ['to_markdown', 'to_yaml']

_WIDTH: Final = 99
_HEAD: Final = """\
# Parameters of the node ood_monitor, with their defaults.
# Rendered by `ood_monitor params --format yaml`; copy it and change the copy.
/**:
  ros__parameters:
"""
_APPLIES: Final = {
    'start': 'read-only at run time',
    'configure': 'applies on configure',
    'live': 'live',
}


def to_yaml() -> str:
    """
    Return the table as a ROS parameter file with the defaults.

    Returns
    -------
    str
        YAML with a comment over every parameter.

    """
    lines: list[str] = []
    open_group = ''
    for spec in PARAMETERS:
        group, _, leaf = spec.name.rpartition('.')
        if group != open_group and group:
            lines.append(f'    {group}:')
        open_group = group
        indent = ' ' * (6 if group else 4)
        for text in (spec.description, _facts(spec)):
            lines += textwrap.wrap(
                text,
                width=_WIDTH,
                initial_indent=f'{indent}# ',
                subsequent_indent=f'{indent}# ',
                break_on_hyphens=False,
            )
        lines.append(f'{indent}{leaf}: {_yaml_value(spec)}')
    return _HEAD + '\n'.join(lines) + '\n'


def to_markdown() -> str:
    """
    Return the table for the documentation.

    Returns
    -------
    str
        A Markdown table, one row a parameter.

    """
    lines = [
        '| Name | Type | Default | Unit, range | Changes apply | Description |',
        '|---|---|---|---|---|---|',
    ]
    for spec in PARAMETERS:
        limits = ', '.join(part for part in (spec.unit, spec.constraint) if part)
        cells = (
            f'`{spec.name}`',
            spec.type_name,
            f'`{_yaml_value(spec)}`',
            limits.replace('|', '\\|'),
            {'start': 'read-only', 'configure': 'on configure', 'live': 'live'}[spec.applies],
            spec.description,
        )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _facts(spec: ParameterSpec) -> str:
    parts = (spec.type_name, spec.unit, spec.constraint, _APPLIES[spec.applies])
    return f'[{"; ".join(part for part in parts if part)}]'


def _yaml_value(spec: ParameterSpec) -> str:
    value = spec.default
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        return '.nan' if math.isnan(value) else repr(value)
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, tuple):
        return repr(list(value))
    return str(value)
