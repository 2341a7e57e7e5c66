"""What a node's command line says before ROS reads it; nothing in here needs ROS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

__all__ = ['HELP', 'asks_for_help', 'parameter_files']

HELP: Final = """\
usage: ood_monitor_node [-h] [--ros-args -p NAME:=VALUE ... -r image:=TOPIC ...]

Scores the frames of cameras and raises an alert when one looks unlike the training data.
A ROS 2 lifecycle node; it configures and activates itself unless autostart is false.

  -h, --help                            print this and leave
  --ros-args -p model.bundle:=BUNDLE    the bundle: a path, or the name of a shipped one
             -r image:=TOPIC            the camera's topic (default: image)
             --params-file FILE         parameters, such as config/monitor.param.yaml
             --log-level LEVEL          debug, info, warn, error or fatal

Every parameter with its default, range and unit: ood_monitor params, or the README.
"""


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
