"""
The arguments of our launch files: each declared once, and read into values.

Nothing in this file needs ``launch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.share import share_path

__all__ = [
    'MONITOR',
    'MULTI_CAMERA',
    'REPLAY',
    'LaunchArgument',
    'monitor_options',
    'names',
    'switch',
]

_TRUE: Final = ('1', 'true', 'yes', 'on')
_FALSE: Final = ('0', 'false', 'no', 'off')


@dataclass(frozen=True)
class LaunchArgument:
    """
    One argument of a launch file.

    Parameters
    ----------
    name : str
        What stands before ``:=``; also the name of the keyword of `launching.monitor_node`.
    description : str
        One sentence.
    default : str or None
        Text that stands for an argument that is not given; None where it must be given.
    parameter : str
        The node's parameter that it sets where it is not empty; none where this is empty.
    kind : {'text', 'switch', 'names'}
        What the text means: itself, a bool, a YAML list of str.
    choices : tuple of str
        The allowed texts; empty where any is.
    shipped : tuple of str
        Path inside the share folder that is the default; empty where ``default`` is.

    """

    name: str
    description: str
    default: str | None = ''
    parameter: str = ''
    kind: Literal['text', 'switch', 'names'] = 'text'
    choices: tuple[str, ...] = ()
    shipped: tuple[str, ...] = ()

    @property
    def default_text(self) -> str | None:
        """Return the default, with the path of a shipped file looked up."""
        return str(share_path(*self.shipped)) if self.shipped else self.default


_COMMON: Final = (
    LaunchArgument(
        'bundle',
        'Folder or .zip of the bundle, or the name of a shipped one; '
        'empty: model.bundle of the parameter file.',
        parameter='model.bundle',
    ),
    LaunchArgument(
        'transport',
        'Kind of pictures to subscribe to; empty: input.transport of the parameter file.',
        parameter='input.transport',
        choices=('', 'raw', 'compressed'),
    ),
    LaunchArgument(
        'reliability',
        'Reliability to ask the cameras for; empty: input.reliability of the parameter file.',
        parameter='input.reliability',
        choices=('', 'best_effort', 'reliable'),
    ),
    LaunchArgument(
        'params_file', 'Parameter file of the node.', shipped=('config', 'monitor.param.yaml')
    ),
    LaunchArgument('namespace', 'Namespace of the node.'),
    LaunchArgument('name', 'Name of the node.', default='ood_monitor'),
    LaunchArgument(
        'autostart',
        'Whether the node configures and activates itself; '
        'empty: autostart of the parameter file.',
        parameter='autostart',
        kind='switch',
    ),
    LaunchArgument(
        'use_sim_time',
        'Whether the node takes its time from /clock; empty: as the parameter file says, or not.',
        parameter='use_sim_time',
        kind='switch',
    ),
    LaunchArgument(
        'log_level',
        'Least severe messages that are logged.',
        default='info',
        choices=('debug', 'info', 'warn', 'error', 'fatal'),
    ),
)
MONITOR: Final = (
    LaunchArgument('image', 'Topic of the camera, without /compressed.', default='image'),
    *_COMMON,
)
MULTI_CAMERA: Final = (
    LaunchArgument(
        'topics',
        'YAML list of the topics of the cameras, without /compressed; '
        'empty: input.topics of the parameter file.',
        parameter='input.topics',
        kind='names',
    ),
    LaunchArgument(
        'cameras',
        'YAML list of the names of the cameras; empty: input.cameras of the parameter file, or '
        'made from the topics.',
        parameter='input.cameras',
        kind='names',
    ),
    *_COMMON,
)
REPLAY: Final = (
    LaunchArgument('bag', 'Folder of the bag, or its .mcap or .db3.', default=None),
    LaunchArgument('source', "Image topic in the bag; empty: the bag's only one."),
    LaunchArgument('rate', 'Pace as a multiple of the recorded one.', default='1.0'),
    LaunchArgument(
        'restamp',
        'Whether headers get the time of playing instead of their own.',
        default='false',
        kind='switch',
    ),
    LaunchArgument(
        'shutdown_at_end', 'Whether everything ends with the bag.', default='true', kind='switch'
    ),
    *MONITOR,
)


def monitor_options(
    arguments: Iterable[LaunchArgument], given: Mapping[str, str]
) -> dict[str, Any]:
    """
    Return what launch arguments say, as keywords of `launching.monitor_node`.

    Parameters
    ----------
    arguments : iterable of LaunchArgument
        The arguments to read.
    given : mapping of str to str
        Text of each; an empty one says nothing.

    Returns
    -------
    dict
        Values by keyword.

    Raises
    ------
    ParameterError
        If a switch is neither true nor false, or a list is none.

    """
    options: dict[str, Any] = {}
    for argument in arguments:
        text = given[argument.name]
        if not text:
            continue
        if argument.kind == 'switch':
            options[argument.name] = switch(argument.name, text)
        elif argument.kind == 'names':
            options[argument.name] = names(argument.name, text)
        else:
            options[argument.name] = text
    return options


def switch(argument: str, text: str) -> bool:
    """
    Read a launch argument that is true or false.

    Raises
    ------
    ParameterError
        If it is neither.

    """
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        msg = f'launch argument {argument!r} must be true or false, got {text!r}'
        raise ParameterError(msg)
    return word in _TRUE


def names(argument: str, text: str) -> list[str]:
    """
    Read a launch argument that is a YAML list; every entry is text, ``on`` and ``1`` too.

    Raises
    ------
    ParameterError
        If it is no list of words, or an empty one.

    """
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)  # it makes nothing but text
    except yaml.YAMLError:
        found = None
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(entry, str) and entry for entry in found)
    ):
        msg = (
            f"launch argument {argument!r} must be a YAML list such as '[front, rear]', "
            f'got {text!r}'
        )
        raise ParameterError(msg)
    return found
