"""Where the files that are shipped beside the code lie: models, configuration, launch files."""

from __future__ import annotations

import contextlib
from pathlib import Path
import sys

from ros_ood_monitor.errors import BundleError

__all__ = ['bundle_path', 'share_path']

PACKAGE = 'ros_ood_monitor'


def share_path(*parts: str) -> Path:
    """
    Return the path of a shipped file or folder.

    It is looked for where colcon installs it (the ament index), then where pip does (the Python
    prefix), then in the checkout that an editable install points to. The first folder that holds
    it wins, so that a prefix with only half of the files hides nothing.

    Parameters
    ----------
    *parts : str
        Path inside the share folder, such as ``'models', 'lunar_orbit'``.

    Returns
    -------
    Path
        The existing path.

    Raises
    ------
    FileNotFoundError
        If no folder holds it; the message lists where it was looked for.

    """
    roots = share_roots()
    for root in roots:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    looked = ', '.join(str(root) for root in roots)
    name = '/'.join(parts)
    msg = f'shipped file {name!r} not found: expected it in one of {looked}; reinstall {PACKAGE}'
    raise FileNotFoundError(msg)


def share_roots() -> list[Path]:
    """
    Return the folders in which shipped files may lie, best first.

    Returns
    -------
    list of Path
        Existing folders; the last one is the checkout's root where the code is not installed.

    """
    roots = [*_ament_roots(), Path(sys.prefix) / 'share' / PACKAGE]
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / 'package.xml').is_file() or (checkout / 'pyproject.toml').is_file():
        roots.append(checkout)
    return [root for root in roots if root.is_dir()]


def _ament_roots() -> list[Path]:
    try:
        from ament_index_python.packages import get_package_share_directory, PackageNotFoundError
    except ImportError:
        return []
    try:
        return [Path(get_package_share_directory(PACKAGE))]
    # LookupError: no AMENT_PREFIX_PATH, as in a shell where no workspace is sourced
    except (PackageNotFoundError, LookupError, OSError):
        return []


def bundle_path(text: str) -> Path:
    """
    Return where a bundle lies.

    Parameters
    ----------
    text : str
        A path, or the name of a shipped bundle.

    Returns
    -------
    Path
        The path; whether it holds a bundle is for `Bundle.load` to say.

    Raises
    ------
    BundleError
        If a single word is neither a path nor the name of a shipped bundle, or no path can be so.

    """
    path = Path(text)
    try:
        path = path.expanduser()
        is_there = path.exists()
    except (OSError, RuntimeError) as error:  # no such home, a name that no file can have
        msg = f'bundle not found: {getattr(error, "strerror", None) or error}: {text[:200]}'
        raise BundleError(msg) from error
    if text and not is_there and len(path.parts) == 1:
        with contextlib.suppress(FileNotFoundError):
            return share_path('models', text)
        shipped = ', '.join(_shipped_bundles()) or 'none is installed'
        msg = (
            'bundle not found: expected a folder, a .zip or the name of a shipped bundle '
            f'({shipped}), got nothing there: {path}'
        )
        raise BundleError(msg)
    return path


def _shipped_bundles() -> list[str]:
    found = (root.glob('models/*/manifest.yaml') for root in share_roots())
    return sorted({manifest.parent.name for paths in found for manifest in paths})
