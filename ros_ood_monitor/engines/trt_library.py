"""
The two TensorRT modules behind one name: ``tensorrt`` (10.x, 11.x) and ``tensorrt_rtx``.

Precision is baked into a bundle's ONNX files and networks are strongly typed, which is the one
scheme that all of them take: nothing here asks for a builder flag or a calibrator that a version
lacks. `USED` lists every name that is used of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import functools
import importlib.util
from typing import Any, Final

from ros_ood_monitor.errors import EngineError

__all__ = [
    'LIBRARIES',
    'USED',
    'USED_OF_RTX',
    'USED_OF_TENSORRT',
    'Library',
    'check_installed',
    'load_library',
    'make_log',
]

LIBRARIES: Final = ('tensorrt', 'tensorrt_rtx')
"""Names of the libraries, in the order in which ``auto`` takes them."""

USED: Final = (
    'Builder.build_serialized_network',
    'Builder.create_builder_config',
    'Builder.create_network',
    'Builder.create_optimization_profile',
    'BuilderFlag.TF32',
    'IBuilderConfig.add_optimization_profile',
    'IBuilderConfig.clear_flag',
    'IBuilderConfig.progress_monitor',
    'IBuilderConfig.set_memory_pool_limit',
    'ICudaEngine.create_execution_context',
    'ICudaEngine.get_tensor_dtype',
    'ICudaEngine.get_tensor_mode',
    'ICudaEngine.get_tensor_name',
    'ICudaEngine.get_tensor_profile_shape',
    'ICudaEngine.get_tensor_shape',
    'ICudaEngine.num_io_tensors',
    'IExecutionContext.execute_async_v3',
    'IExecutionContext.infer_shapes',
    'IExecutionContext.set_input_shape',
    'IExecutionContext.set_tensor_address',
    'ILogger.Severity',
    'INetworkDefinition.get_input',
    'INetworkDefinition.get_output',
    'INetworkDefinition.num_inputs',
    'INetworkDefinition.num_layers',
    'INetworkDefinition.num_outputs',
    'IOptimizationProfile.set_shape',
    'IProgressMonitor.phase_start',
    'IProgressMonitor.phase_finish',
    'IProgressMonitor.step_complete',
    'MemoryPoolType.WORKSPACE',
    'NetworkDefinitionCreationFlag.STRONGLY_TYPED',
    'OnnxParser.get_error',
    'OnnxParser.num_errors',
    'OnnxParser.parse',
    'Runtime.deserialize_cuda_engine',
    'TensorIOMode.INPUT',
)
"""Names that both libraries must have."""

USED_OF_RTX: Final = (
    'ComputeCapability',
    'EngineInvalidityDiagnostics',
    'EngineValidity.INVALID',
    'IBuilderConfig.num_compute_capabilities',
    'IBuilderConfig.set_compute_capability',
    'ICudaEngine.create_runtime_config',
    'IExecutionContext.is_stream_capturable',
    'IRuntimeCache.deserialize',
    'IRuntimeCache.serialize',
    'IRuntimeConfig.create_runtime_cache',
    'IRuntimeConfig.set_runtime_cache',
    'Runtime.get_engine_validity',
)
"""Names that only ``tensorrt_rtx`` has."""

USED_OF_TENSORRT: Final = (
    'IBuilderConfig.create_timing_cache',
    'IBuilderConfig.get_timing_cache',
    'IBuilderConfig.set_timing_cache',
    'ITimingCache.serialize',
)
"""Names that are only used of ``tensorrt``."""

_LINES: Final = 4  # of its log that a message holds

_INSTALL: Final = {
    'tensorrt': 'on a Jetson it comes with JetPack (apt install python3-libnvinfer; a virtual '
    "environment needs --system-site-packages); elsewhere: pip install '.[tensorrt]' in the clone",
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
        except ImportError as error:
            is_absent = isinstance(error, ModuleNotFoundError) and error.name == wanted
            problems.append(f'{wanted} is not installed' if is_absent else f'{wanted}: {error}')
        except (AttributeError, OSError) as error:  # its shared libraries, or a shell of a package
            problems.append(f'{wanted} does not load: {error}')
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
        With ``tail()``, its last lines as one, and ``clear()``.

    """
    severity = library.module.ILogger.Severity

    class Log(library.module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self._lines: deque[str] = deque(maxlen=_LINES)

        def log(self, level: Any, message: str) -> None:
            if int(level) <= int(severity.WARNING):
                self._lines.append(' '.join(message.split()))

        def clear(self) -> None:
            self._lines.clear()

        def tail(self) -> str:
            return ' | '.join(self._lines) or 'the library gives no reason'

    return Log()
