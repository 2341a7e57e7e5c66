"""Weights that come as Python packages, so that nothing is downloaded by this one."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.packages import import_problem, not_installed

__all__ = ['packaged_file', 'require']


def require(module: str) -> Any:
    """
    Import a module that a backbone needs.

    Parameters
    ----------
    module : str
        Name of the module.

    Returns
    -------
    module
        The module.

    Raises
    ------
    TrainingError
        If it is not installed, or does not load.

    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f'the backbone needs {import_problem(error)}'
        raise TrainingError(msg) from error


def packaged_file(module: str, path: str) -> Path:
    """
    Return a data file of a package, without importing the package.

    Parameters
    ----------
    module : str
        Top-level package.
    path : str
        File in it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TrainingError
        If the package is not installed, or lacks the file.

    """
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # something without a spec took its name
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, path)
        if file.is_file():
            return file
    msg = f'the backbone needs {not_installed(module)}'
    raise TrainingError(msg)
