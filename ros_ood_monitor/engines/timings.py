"""How fast kernels ran: measured by ``tensorrt``, kept beside the engines for the next build."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
from pathlib import Path
import re
from typing import Any, Final

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.engines.trt_library import Library

__all__ = ['keep_timings', 'take_timings', 'timing_file']

# whatever goes wrong with them costs time at most, and never a build
_PASSED_OVER: Final = (OSError, RuntimeError, TypeError, ValueError, MemoryError)


def timing_file(cache: Path, library: Library, target: Mapping[str, str]) -> Path:
    """
    Return where the timings of a device lie.

    Parameters
    ----------
    cache : Path
        Folder of all engines.
    library : Library
        What measures; another version measures anew.
    target : mapping of str to str
        What of the GPU an engine is bound to.

    Returns
    -------
    Path
        A file, which need not exist.

    """
    text = '-'.join([library.name, library.version, *target.values()])
    return cache / f'timing.{re.sub("[^A-Za-z0-9.]+", "-", text)}.cache'


def take_timings(config: Any, path: Path) -> None:
    """
    Let a build use what was measured before, and note what it measures.

    Parameters
    ----------
    config : IBuilderConfig
        Of the build.
    path : Path
        The file; one that is missing, damaged or of another device counts for nothing.

    """
    for content in (_read_or_nothing(path), b''):
        with contextlib.suppress(*_PASSED_OVER):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return


def keep_timings(config: Any, path: Path) -> None:
    """
    Write what was measured before and by this build.

    Parameters
    ----------
    config : IBuilderConfig
        Of a build that has ended.
    path : Path
        The file; that it cannot be written only costs time at the next build.

    """
    with contextlib.suppress(*_PASSED_OVER):
        cache = config.get_timing_cache()
        made = None if cache is None else cache.serialize()
        if made is not None:
            with new_file(path) as file:
                file.write_bytes(bytes(made))


def _read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b''
