"""The files of a bundle: their names, and how one is read from a folder or a .zip."""

from __future__ import annotations

from pathlib import Path
import re
import zipfile

from ros_ood_monitor.errors import BundleError

__all__ = ['MANIFEST', 'SKETCH', 'precision_files', 'read_file']

MANIFEST = 'manifest.yaml'
SKETCH = 'trained_frames.bin'

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


def precision_files(precision: str) -> tuple[str, str, str]:
    """
    Return the names of a precision's files.

    Parameters
    ----------
    precision : str
        Its name.

    Returns
    -------
    tuple of str
        Backbone, calibration, goldens.

    """
    return (
        f'backbone.{precision}.onnx',
        f'calibration.{precision}.npz',
        f'goldens.{precision}.npz',
    )


def read_file(path: Path, name: str) -> bytes:
    """
    Return the content of one file, unchecked.

    Parameters
    ----------
    path : Path
        The bundle's folder or .zip.
    name : str
        File name inside the bundle.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    BundleError
        If it is not there or cannot be read, or nothing there is a bundle.

    """
    if Path(name).name != name:
        msg = f'bundle file names must be plain, got {name!r}: {path}'
        raise BundleError(msg)
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        if path.is_file():
            if not _is_archive(path):
                raise FileNotFoundError(name)
            with zipfile.ZipFile(path) as archive:
                return archive.read(_member(archive, name))
    except (FileNotFoundError, KeyError) as error:
        if name == MANIFEST:
            raise BundleError(_no_bundle(path)) from error
        msg = f'bundle is incomplete: expected a file {name!r}, got none: {path}'
        raise BundleError(msg) from error
    except OSError as error:
        msg = f'bundle is not readable ({error}): {path}'
        raise BundleError(msg) from error
    except Exception as error:  # a damaged archive raises whatever its reader stumbles on
        if path.is_dir():
            msg = f'bundle has no file {name!r}: such a name cannot be ({error}): {path}'
            raise BundleError(msg) from error
        what = ' '.join(str(error).split()) or type(error).__name__
        msg = (
            f'bundle is not readable: expected a whole .zip without a password, got one in which '
            f'{name!r} cannot be read ({what}); copy the bundle again, or unpack it: {path}'
        )
        raise BundleError(msg) from error
    msg = f'bundle not found: expected a folder or a .zip, got nothing there: {path}'
    raise BundleError(msg)


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """Return a file's name in an archive of a bundle's files, or of the folder around them."""
    names = archive.namelist()
    if MANIFEST in names:
        return name
    folders = [held.split('/')[0] for held in names if re.fullmatch(f'[^/]+/{MANIFEST}', held)]
    return f'{folders[0]}/{name}' if len(folders) == 1 else name


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a .zip, or is called one."""
    return path.suffix.lower() == '.zip' or zipfile.is_zipfile(path)


def _is_bag(path: Path) -> bool:
    """Tell whether what was given in the place of a bundle looks like a recorded bag."""
    files = [path, *path.glob('*')]
    return any(
        file.suffix.lower() in _BAG_SUFFIXES or file.name == 'metadata.yaml' for file in files
    )


def _no_bundle(path: Path) -> str:
    """Say what is there instead, or which bundles lie one level further down."""
    if _is_bag(path):
        return (
            'no bundle: expected a folder or a .zip of one, got a bag; the bundle comes first, as '
            f'in ood_monitor replay BUNDLE BAG: {path}'
        )
    if path.is_file() and not _is_archive(path):
        got = f'got a file of another kind ({path.suffix or "no ending"})'
        return f'no bundle: expected a folder or a .zip of one, {got}: {path}'
    where = ' in the .zip or in the only folder in it' if path.is_file() else ''
    inside = sorted(file.parent.name for file in path.glob(f'*/{MANIFEST}'))
    hint = f'; it holds the bundles {", ".join(inside)}' if inside else ''
    return f'no bundle: expected a file {MANIFEST!r}{where}, got none{hint}: {path}'
