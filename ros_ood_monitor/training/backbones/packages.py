"""Weights that come as Python packages, so that nothing is downloaded by this one."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from ros_ood_monitor.errors import TrainingError

__all__ = ['packaged_file', 'require']


def require(module: str, distribution: str = '') -> Any:
    """
    Import a module that a backbone needs.

    Parameters
    ----------
    module : str
        Name of the module.
    distribution : str
        What to install for it, where the ``train`` extra does not bring it.

    Returns
    -------
    module
        The module.

    Raises
    ------
    TrainingError
        If it is not installed.

    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(error.name or module, distribution) from error


def packaged_file(module: str, path: str, distribution: str = '') -> Path:
    """
    Return a data file of a package, without importing the package.

    Parameters
    ----------
    module : str
        Top-level package.
    path : str
        File in it.
    distribution : str
        What to install for it, where the ``train`` extra does not bring it.

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
    raise _missing(module, distribution)


def _missing(module: str, distribution: str) -> TrainingError:
    what = distribution or "'.[train]' in the clone"
    return TrainingError(
        f'the backbone needs the package {module!r}, which is not installed; '
        f'run: pip install {what}'
    )
