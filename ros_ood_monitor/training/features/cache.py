"""Where features are kept on disk, and under which name they are found again."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from ros_ood_monitor.errors import TrainingError

__all__ = ['cache_key', 'default_cache', 'explained']

_FORMAT: Final = 4


def default_cache() -> Path:
    """Return the folder of the user's cached features."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'ood_monitor' / 'features'


def cache_key(**facts: Any) -> str:
    """
    Return the name of what is kept under exactly these facts.

    Parameters
    ----------
    **facts
        Plain values: everything that it depends on.

    Returns
    -------
    str
        Hex digits.

    """
    text = json.dumps({'format': _FORMAT, **facts}, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn an OSError into a TrainingError that names the cache."""
    try:
        yield
    except OSError as error:
        msg = (
            f'features could not be stored ({error.strerror or error}); '
            f'choose a folder with room by --cache: {folder}'
        )
        raise TrainingError(msg) from error
