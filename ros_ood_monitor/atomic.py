"""Files and folders that are there whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import secrets
import shutil
import stat
import tempfile

from ros_ood_monitor.errors import ParameterError

__all__ = ['check_output', 'new_file', 'new_folder', 'sync', 'sync_tree']


def check_output(path: Path | str, suffixes: tuple[str, ...] = ()) -> Path:
    """
    Refuse now a file that `new_file` could not make after all the work.

    Parameters
    ----------
    path : Path or str
        The file to be; missing folders above it are no fault, they are made with it.
    suffixes : tuple of str, optional
        Allowed endings, lower case; any by default.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    ParameterError
        If the ending is another one, the path is a folder, or its place cannot be written.

    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        allowed = ' or '.join(suffixes)
        msg = f'unknown kind of file: expected {allowed}, got {path.suffix!r}: {path}'
        raise ParameterError(msg)
    if path.is_dir():
        msg = f'cannot write file: it is a folder: {path}'
        raise ParameterError(msg)
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f'cannot write file ({error.strerror or error} in {folder}): {path}'
        raise ParameterError(msg) from error
    return path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """
    Give a temporary folder that becomes ``path`` when the block ends well.

    Parameters
    ----------
    path : Path
        Target folder; one that is there is replaced as the last step.

    Yields
    ------
    Path
        An empty folder beside the target, on the same file system.

    Raises
    ------
    OSError
        If anything cannot be written; the target is then as it was before.

    """
    # resolve() would follow a link at the target
    path = Path(os.path.abspath(path))  # noqa: PTH100
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        folder = aside / 'new'
        folder.mkdir()
        yield folder
        sync_tree(folder)
        if path.exists():
            path.rename(aside / 'old')
        try:
            folder.rename(path)
        except OSError:
            if (aside / 'old').exists():
                (aside / 'old').rename(path)
            raise
        sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """
    Give a temporary file name that becomes ``path`` when the block ends well.

    Parameters
    ----------
    path : Path
        Target file; one that is there is replaced as the last step.

    Yields
    ------
    Path
        A name beside the target, on the same file system, with the target's suffix.

    Raises
    ------
    OSError
        If anything cannot be written; the target is then as it was before.

    """
    path = Path(os.path.abspath(path))  # noqa: PTH100
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f'.{path.stem}.{secrets.token_hex(4)}{path.suffix}'
    # the system takes the umask off: asking for it would change it for all threads meanwhile
    handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        yield aside
        aside.chmod(mode)  # whoever wrote it may have made it anew
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Have a folder and all that is in it on the disk, whatever happens next."""
    for path in (*folder.rglob('*'), folder):
        if path.is_dir() or path.is_file():
            sync(path)


def sync(path: Path) -> None:
    """Have a file, or the names that a folder holds, on the disk, whatever happens next."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
