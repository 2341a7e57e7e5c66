"""
The two TensorRT modules behind one name: ``tensorrt`` (10.x, 11.x) and ``tensorrt_rtx``.

Precision is baked into a bundle's ONNX files and networks are strongly typed, which is the one
scheme that all of them take: nothing here asks for a builder flag or a calibrator that a version
lacks. `ros_ood_monitor.engines.trt_names` lists every name that is used of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import functools
import importlib.metadata
import importlib.util
import re
from typing import Any, Final

from ros_ood_monitor.engines.cuda import call, cudart
from ros_ood_monitor.errors import EngineError

__all__ = [
    'LIBRARIES',
    'NO_MEMORY',
    'Library',
    'agreement',
    'ask',
    'check_installed',
    'load_library',
    'make_log',
]

LIBRARIES: Final = ('tensorrt', 'tensorrt_rtx')
"""Names of the libraries, in the order in which ``auto`` takes them."""

NO_MEMORY: Final = re.compile('out ?of ?memory|could not be allocated|bad_alloc', re.IGNORECASE)
"""What a library's log says where memory is short."""

_LINES: Final = 4  # of its log that a message holds
_CUDAS: Final = range(11, 20)
_KEPT: Final = 64  # that are looked at for a reason

_INSTALL: Final = {
    'tensorrt': 'on a Jetson it comes with JetPack (apt install python3-libnvinfer; a virtual '
    'environment needs --system-site-packages); elsewhere: pip install cuda-bindings tensorrt',
    'tensorrt_rtx': 'pip install tensorrt-rtx-cu13',
}


@dataclass(frozen=True)
class Library:
    """
    One of the two libraries.

    Parameters
    ----------
    name : {'tensorrt', 'tensorrt_rtx'}
        Its module's name.
    module : module
        The module.
    version : str
        Its version.

    """

    name: str
    module: Any
    version: str

    @property
    def is_rtx(self) -> bool:
        """Return whether it is TensorRT for RTX."""
        return self.name == 'tensorrt_rtx'


def load_library(name: str = 'auto') -> Library:
    """
    Import a library.

    Parameters
    ----------
    name : {'auto', 'tensorrt', 'tensorrt_rtx'}, default 'auto'
        ``auto`` takes the first that is installed.

    Returns
    -------
    Library
        Ready to build and to run.

    Raises
    ------
    EngineError
        If the name is unknown or the library is not there or does not load.

    """
    if name not in ('auto', *LIBRARIES):
        msg = f'library is unknown: expected one of {["auto", *LIBRARIES]}, got {name!r}'
        raise EngineError(msg)
    problems = []
    for wanted in LIBRARIES if name == 'auto' else (name,):
        try:
            module = importlib.import_module(wanted)
            return Library(wanted, module, str(module.__version__))
        except Exception as error:  # noqa: BLE001, a library that is half there raises anything
            is_absent = isinstance(error, ModuleNotFoundError) and error.name == wanted
            how = 'is not installed' if is_absent else f'does not load: {error}'
            problems.append(f'{wanted} {how}')
        problems[-1] += f' ({_INSTALL[wanted]})'
    msg = '; '.join(problems)
    raise EngineError(msg)


def check_installed(name: str) -> None:
    """
    Refuse a library that is not there, without loading it: that takes seconds and memory.

    Parameters
    ----------
    name : {'tensorrt', 'tensorrt_rtx'}
        Its module's name.

    Raises
    ------
    EngineError
        If there is no such module. One that is there may still not load.

    """
    if importlib.util.find_spec(name) is None:
        msg = f'{name} is not installed ({_INSTALL[name]})'
        raise EngineError(msg)


def agreement(name: str) -> str:
    """
    Return which CUDA the driver serves and a library wants, and what to do where they disagree.

    Parameters
    ----------
    name : {'tensorrt', 'tensorrt_rtx'}
        The library, installed.

    Returns
    -------
    str
        For a message about a library that raised an error of its own.

    """
    try:
        served = call(cudart().cudaDriverGetVersion, doing='asking for the driver') // 1000
    except EngineError as error:
        return str(error)
    package = name.replace('_', '-')
    wanted = next((cuda for cuda in _CUDAS if _is_distributed(f'{package}-cu{cuda}')), 0)
    if not served:
        return 'no NVIDIA driver answers: look at nvidia-smi'
    if not wanted:
        return f'the driver serves CUDA {served}: see whether {name} is built for that'
    said = f'the driver serves CUDA {served}, {package}-cu{wanted} wants CUDA {wanted}'
    if wanted > served:
        return f'{said}: update the driver, or install {package}-cu{served}'
    return f'{said}: look at dmesg, or take another version of the library'


def _is_distributed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def ask(function: Callable[..., Any], *args: Any, library: Library, log: Any, doing: str) -> Any:
    """
    Call a library, whose bindings raise errors of their own where it gives no answer at all.

    Parameters
    ----------
    function : callable
        Of the library.
    *args
        Its arguments.
    library : Library
        Which one.
    log : ILogger
        Where it says why.
    doing : str
        What for, for people.

    Returns
    -------
    object
        What it returned, which may say that it failed.

    Raises
    ------
    EngineError
        If it raised.

    """
    try:
        return function(*args)
    except (RuntimeError, TypeError, MemoryError) as error:
        why = agreement(library.name)
        msg = f'{library.name} failed while {doing}: {error}: {log.tail()}; {why}'
        raise EngineError(msg) from error


@functools.cache
def make_log(library: Library) -> Any:
    """
    Return the logger that keeps what a library says.

    TensorRT answers None or False where it fails; the reason stands in its log alone. There is
    one a process: the library goes on with the first it was given, whatever it is given later.

    Parameters
    ----------
    library : Library
        Whose log.

    Returns
    -------
    ILogger
        With ``tail()``, its last lines as one, ``holds(pattern)``, whether a line does, and
        ``clear()``.

    """
    severity = library.module.ILogger.Severity

    class Log(library.module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self._lines: deque[str] = deque(maxlen=_KEPT)

        def log(self, level: Any, message: str) -> None:
            if int(level) <= int(severity.WARNING):
                self._lines.append(' '.join(message.split()))

        def clear(self) -> None:
            self._lines.clear()

        def tail(self) -> str:
            return ' | '.join([*self._lines][-_LINES:]) or 'the library gives no reason'

        def holds(self, pattern: re.Pattern[str]) -> bool:
            return any(pattern.search(line) for line in self._lines)

    return Log()
