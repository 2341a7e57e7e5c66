"""What a measurement ran on: the facts without which its figures mean nothing."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
from pathlib import Path
import platform
from typing import Any

__all__ = ['context', 'cpu_model']

_DISTRIBUTIONS = ('numpy', 'opencv-python', 'onnxruntime')


def context() -> dict[str, Any]:
    """
    Return machine, load and versions.

    Returns
    -------
    dict
        Serialisable as JSON; names no user, host or path.

    """
    from ros_ood_monitor import __version__

    return {
        'time': dt.datetime.now(dt.timezone.utc).isoformat(timespec='seconds'),
        'cpu': cpu_model(),
        'cores': os.cpu_count(),
        'load_average': [round(value, 2) for value in os.getloadavg()],
        'system': platform.system(),
        'machine': platform.machine(),
        'versions': {
            'ros_ood_monitor': __version__,
            'python': platform.python_version(),
            **{name: _version(name) for name in _DISTRIBUTIONS},
        },
    }


def cpu_model() -> str:
    """
    Return the processor's name.

    Returns
    -------
    str
        As the kernel gives it; on boards without one, the board's name.

    """
    for path, key in (('/proc/cpuinfo', 'model name'), ('/proc/device-tree/model', '')):
        try:
            text = Path(path).read_text(encoding='utf-8', errors='replace')
        except OSError:
            continue
        for line in text.splitlines():
            name, _, value = line.partition(':')
            if not key:
                return line.rstrip('\0')
            if name.strip() == key:
                return value.strip()
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'
