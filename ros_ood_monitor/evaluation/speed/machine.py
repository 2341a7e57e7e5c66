"""What a measurement ran on: the facts without which its figures mean nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import os
from pathlib import Path
import platform
import shutil
import subprocess
from typing import Any

__all__ = ['context', 'cpu_model']

_DISTRIBUTIONS = ('numpy', 'opencv-python', 'onnxruntime')
_OF_GPUS = {  # by the names under which they may be installed
    'onnxruntime-gpu': ('onnxruntime-gpu',),
    'cuda-bindings': ('cuda-bindings',),
    'tensorrt': ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12'),
    'tensorrt_rtx': ('tensorrt-rtx', 'tensorrt-rtx-cu13', 'tensorrt-rtx-cu12'),
}
_POWER_MODE_S = 5.0
_BOARD = Path('/proc/device-tree/model')


def context() -> dict[str, Any]:
    """
    Return machine, load and versions.

    Returns
    -------
    dict
        Serialisable as JSON; names no user, host or path. ``board`` and ``power_mode`` are None
        where there is none to read, versions are only of what is installed.

    """
    from ros_ood_monitor import __version__

    return {
        'time': dt.datetime.now(dt.timezone.utc).isoformat(timespec='seconds'),
        'cpu': cpu_model(),
        'board': _board(),
        'power_mode': _power_mode(),
        'cores': os.cpu_count(),
        'load_average': [round(value, 2) for value in os.getloadavg()],
        'system': platform.system(),
        'machine': platform.machine(),
        'versions': {
            'ros_ood_monitor': __version__,
            'python': platform.python_version(),
            **{name: _version(name) or 'unknown' for name in _DISTRIBUTIONS},
            **{name: version for name in _OF_GPUS if (version := _version(*_OF_GPUS[name]))},
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


def _board() -> str | None:
    try:
        return _BOARD.read_text(encoding='utf-8', errors='replace').rstrip('\0\n ')
    except OSError:
        return None


def _power_mode() -> str | None:
    """Return what a Jetson says of its power mode, on one line."""
    command = shutil.which('nvpmodel')
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, '-q'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_POWER_MODE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ' '.join(done.stdout.split())


def _version(*distributions: str) -> str | None:
    for distribution in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return None
