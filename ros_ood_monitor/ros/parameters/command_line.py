"""What a node's command line says before ROS reads it; nothing in here needs ROS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
import shlex
from typing import Final

__all__ = ['HELP', 'asks_for_help', 'parameter_files', 'unknown_arguments']

HELP: Final = """\
usage: ood_monitor_node [-h] [--ros-args -p NAME:=VALUE ... -r image:=TOPIC ...]

Scores the frames of cameras and raises an alert when one looks unlike the training data.
A ROS 2 lifecycle node; it configures and activates itself unless autostart is false.

  -h, --help                            print this and leave
  --ros-args -p model.bundle:=BUNDLE    the bundle: a path, or the name of a shipped one
             -r image:=TOPIC            the camera's topic (default: image)
             --params-file FILE         parameters, such as config/monitor.param.yaml
             --log-level LEVEL          debug, info, warn, error or fatal

Every parameter with its default, range and unit: ood_monitor params, or docs/node.md.
"""


_ROS_FLAGS: Final = frozenset(
    {'-p', '--param', '-r', '--remap', '--params-file', '--log-level', '-e', '--enclave'}
)


def asks_for_help(argv: Sequence[str]) -> bool:
    """
    Tell whether the command line asks for help.

    Parameters
    ----------
    argv : sequence of str
        The command line with the program's name.

    Returns
    -------
    bool
        False for words between ``--ros-args`` and ``--``, which are for ROS.

    """
    own, _ = _split(argv)
    return any(word in ('-h', '--help') for word in own[1:])


def unknown_arguments(argv: Sequence[str]) -> str:
    """
    Return what to say about arguments that neither the node nor ROS would read.

    Parameters
    ----------
    argv : sequence of str
        The command line with the program's name.

    Returns
    -------
    str
        What is wrong and what to write instead; empty where nothing is.

    """
    own, _ = _split(argv)
    unknown = [word for word in own[1:] if word]
    if not unknown:
        return ''
    said = f'unknown arguments: expected none outside --ros-args, got {shlex.join(unknown)}'
    if any(word in _ROS_FLAGS or ':=' in word for word in unknown):
        return f'{said}; write ood_monitor_node --ros-args {shlex.join(unknown)}'
    return f'{said}; ood_monitor_node --help tells what there is'


def parameter_files(argv: Sequence[str]) -> list[Path]:
    """
    Return the parameter files that a command line names.

    Parameters
    ----------
    argv : sequence of str
        The command line.

    Returns
    -------
    list of Path
        In the order given, each once.

    """
    _, ros = _split(argv)
    named = (Path(name) for word, name in pairwise(ros) if word == '--params-file')
    return list(dict.fromkeys(named))


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for the program and those for ROS."""
    own: list[str] = []
    ros: list[str] = []
    target = own
    for word in argv:
        if word == '--ros-args':
            target = ros
        elif word == '--' and target is ros:
            target = own
        else:
            target.append(word)
    return own, ros
