"""Why a package could not be imported, and which command brings one, for messages."""

from __future__ import annotations

import importlib.util
from typing import Final

__all__ = ['how_to_install', 'import_problem', 'not_installed']

_DISTRIBUTIONS: Final = {
    'cuda': 'cuda-bindings',
    'cv2': 'opencv-python',
    'tensorrt_rtx': 'tensorrt-rtx-cu13',
    'yaml': 'PyYAML',
}
"""Of modules that are called otherwise; pip takes ``_`` and ``-`` in a name for the same."""


def import_problem(error: ImportError, *modules: str) -> str:
    """
    Return what an import lacked and what to do, for a message that ends in it.

    Parameters
    ----------
    error : ImportError
        What the import raised.
    *modules : str
        Modules that are needed together with it, so that all that is missing is named at once.

    Returns
    -------
    str
        The package that is not installed, and how to install it; or that one is there and cannot
        be imported, which ``pip install`` does not cure.

    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        return not_installed(error.name, *modules)
    reason = ' '.join(str(error).split())
    return f'a package that cannot be imported ({reason}); run: ood_monitor doctor'


def not_installed(module: str, *others: str) -> str:
    """
    Return which package is not there and what to do, for a message that ends in it.

    Parameters
    ----------
    module : str
        The module that is not there.
    *others : str
        Modules that are needed together with it.

    Returns
    -------
    str
        Its package, and how to install all that is missing.

    """
    run = how_to_install(module, *others)
    return f'the package {module!r}, which is not installed; run: {run}'


def how_to_install(*modules: str) -> str:
    """
    Return the command that brings modules.

    It names packages, never the clone: on a robot that would bring a second OpenCV and NumPy, and
    in a virtual environment a copy in the place of an editable install.

    Parameters
    ----------
    *modules : str
        Modules that are needed together, dotted ones by the package around them.

    Returns
    -------
    str
        ``pip install`` with those that are not there, or with all where each one is.

    """
    absent = [name for name in modules if not _is_there(name)] or modules
    packages = [name.partition('.')[0] for name in absent]
    wanted = dict.fromkeys(_DISTRIBUTIONS.get(name, name.replace('_', '-')) for name in packages)
    return f'pip install {" ".join(wanted)}'


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # the package around it, or what took its name
        return False
