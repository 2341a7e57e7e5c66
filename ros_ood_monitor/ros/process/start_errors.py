"""What rclpy raises for a wrong command line, in the form that all our errors have."""

from __future__ import annotations

import os
from pathlib import Path
import re
from typing import Final

from rclpy.exceptions import NameValidationException
from rclpy.impl.implementation_singleton import rclpy_implementation

__all__ = ['START_ERRORS', 'start_error']

START_ERRORS: Final = (
    rclpy_implementation.RCLError,
    rclpy_implementation.UnknownROSArgsError,
    NameValidationException,
)
"""What initialising ROS and making a node raise for a wrong command line."""


def start_error(error: Exception) -> str:
    """
    Say in one line why ROS does not start with this command line.

    Parameters
    ----------
    error : Exception
        One of `START_ERRORS`.

    Returns
    -------
    str
        What, expected, got; the parameter file last where it is one.

    """
    if isinstance(error, rclpy_implementation.UnknownROSArgsError):
        return f'unknown ROS arguments: expected such as -p, -r and --params-file, got {error}'
    # failed to initialize rcl: Couldn't parse params file: '--params-file X'. Error: E, at F, at F
    said = ' '.join(str(error).split()).removeprefix('failed to initialize rcl: ')
    said = said.split(', at /')[0].rstrip('. ')
    found = re.fullmatch(r"Couldn't parse params file: '--params-file (.*)'\. Error: (.*)", said)
    if found is None:
        return f'ROS does not start: {said[:1].lower()}{said[1:]}; correct the --ros-args'
    path, got = Path(found[1]), found[2]
    if not path.exists():
        got = 'no such file'
    elif path.is_dir():
        got = 'a folder'
    elif not os.access(path, os.R_OK):
        got = 'a file that cannot be read'
    return (
        'parameter file cannot be used: expected a node name, under it ros__parameters, under '
        f'that the parameters, got {got}; config/monitor.param.yaml is one: {path}'
    )
