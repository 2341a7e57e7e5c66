"""A folder that is not to outgrow a limit: the oldest of what one node made there goes first."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import shutil

__all__ = ['make_room', 'plain_name', 'size_of']


def make_room(folder: Path, limit: int, *, is_ours: Callable[[Path], bool]) -> int:
    """
    Remove the oldest subfolders of a kind until the rest takes no more than some bytes.

    Nothing else is touched: no file, no link, no hidden folder, nothing that is not ours.

    Parameters
    ----------
    folder : Path
        Where they lie; need not exist.
    limit : int
        Bytes that may stay.
    is_ours : callable
        Tells of a subfolder whether it is one of those that may go. Their names must sort by age.

    Returns
    -------
    int
        Bytes that stay, of ours; over the limit only where something cannot be removed.

    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    except OSError:
        return 0
    ours = [p for p in paths if p.is_dir() and not p.is_symlink() and is_ours(p)]
    sizes = [size_of(path) for path in ours]
    total = sum(sizes)
    for path, size in zip(ours, sizes, strict=True):
        if total <= limit:
            break
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            total -= size
    return total


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; those that vanish meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_size
            except OSError:
                continue
    return total


def plain_name(node: str) -> str:
    """Return a node's full name as the beginning of a folder's name."""
    return node.strip('/').replace('/', '_')
