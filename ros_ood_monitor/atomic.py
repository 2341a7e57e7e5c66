"""Files and folders that are there whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import tempfile

__all__ = ['new_file', 'new_folder']


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
        for file in sorted(folder.rglob('*')):
            if file.is_file():
                _sync(file)
        if path.exists():
            path.rename(aside / 'old')
        try:
            folder.rename(path)
        except OSError:
            if (aside / 'old').exists():
                (aside / 'old').rename(path)
            raise
        _sync(path.parent)
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
    handle, name = tempfile.mkstemp(prefix=f'.{path.stem}.', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
