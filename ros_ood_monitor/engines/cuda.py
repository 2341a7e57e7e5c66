"""The GPU through ``cuda.bindings``: which one, its memory, a stream, a graph; no torch."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
import importlib.metadata
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import EngineError

__all__ = ['Buffer', 'Device', 'call', 'cudart', 'find_device']

_MIB: Final = 2**20
_NO_DRIVER: Final = 'no NVIDIA driver or GPU is visible: look at nvidia-smi'


@dataclass(frozen=True)
class Device:
    """
    A GPU.

    Parameters
    ----------
    index : int
        As CUDA counts.
    name : str
        What it is.
    compute_capability : str
        Such as ``8.7``.
    driver : str
        The CUDA version that its driver serves, such as ``12.6``.
    memory_mib : int
        All of its memory.
    multiprocessors : int
        How many it has: Jetsons of one name and compute capability differ by them.
    is_integrated : bool
        Whether it shares the host's memory, as on a Jetson.

    """

    index: int
    name: str
    compute_capability: str
    driver: str
    memory_mib: int
    multiprocessors: int
    is_integrated: bool


def cudart() -> Any:
    """
    Return CUDA's runtime.

    Returns
    -------
    module
        ``cuda.bindings.runtime``.

    Raises
    ------
    EngineError
        If it is not installed or does not load.

    """
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError, RuntimeError) as error:
        msg = (
            f'CUDA for Python does not load: {error}; pip install cuda-bindings (12.x on Python '
            '3.10, and of the major version that the driver serves)'
        )
        raise EngineError(msg) from error
    return runtime


def call(function: Any, *args: Any, doing: str) -> Any:
    """
    Call CUDA and look at what it answers.

    Parameters
    ----------
    function : callable
        Of `cudart`.
    *args
        Its arguments.
    doing : str
        What for, for people.

    Returns
    -------
    object
        What it returned behind its status; a tuple where that is more than one value.

    Raises
    ------
    EngineError
        If it failed.

    """
    try:
        status, *values = function(*args)
    except RuntimeError as error:  # cuda-bindings up to 12.8, where there is no driver
        msg = f'CUDA failed while {doing}: {error}; {_NO_DRIVER}'
        raise EngineError(msg) from error
    if int(status) != 0:
        if status.name == 'cudaErrorMemoryAllocation':
            hint = (
                'the GPU is out of memory: end other programs that use it, or build with a '
                'smaller --batch'
            )
        elif status.name == 'cudaErrorInsufficientDriver':
            hint = _why_insufficient()
        elif status.name == 'cudaErrorNoDevice':
            hint = _NO_DRIVER
        else:
            hint = 'restart the node; if it comes again look at dmesg'
        msg = f'CUDA failed while {doing}: {status.name}; {hint}'
        raise EngineError(msg)
    return values[0] if len(values) == 1 else tuple(values)


def _why_insufficient() -> str:
    """Return what to do where the driver is too old for the runtime, which none at all is, too."""
    _, served = cudart().cudaDriverGetVersion()
    if not served:
        return _NO_DRIVER
    package = 'cuda-bindings'
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        package += f' {importlib.metadata.version(package)}'
    return (
        f'the driver serves CUDA {_cuda(served)}, {package} wants a newer one: update the driver, '
        'or install older cuda-bindings (12.8.0 where the driver serves 12.x)'
    )


def _cuda(version: int) -> str:
    return f'{version // 1000}.{version % 1000 // 10}'


def find_device(index: int = 0) -> Device:
    """
    Return a GPU's facts.

    Parameters
    ----------
    index : int, default 0
        As CUDA counts.

    Returns
    -------
    Device
        The GPU.

    Raises
    ------
    EngineError
        If CUDA does not load or sees no such GPU.

    """
    runtime = cudart()
    count = call(runtime.cudaGetDeviceCount, doing='looking for a GPU')
    if not 0 <= index < count:
        msg = f'there is no GPU {index}: expected one of {list(range(count))}'
        raise EngineError(msg)
    facts = call(runtime.cudaGetDeviceProperties, index, doing='asking what the GPU is')
    served = call(runtime.cudaDriverGetVersion, doing='asking for the driver')
    return Device(
        index=index,
        name=facts.name.decode().strip('\0 '),
        compute_capability=f'{facts.major}.{facts.minor}',
        driver=_cuda(served),
        memory_mib=facts.totalGlobalMem // _MIB,
        multiprocessors=int(facts.multiProcessorCount),
        is_integrated=bool(facts.integrated),
    )


class Buffer:
    """
    A tensor's memory on the device, and on the host where people write or read it.

    Parameters
    ----------
    shape : tuple of int
        Largest shape.
    dtype : dtype
        Of its elements.
    on_host : bool
        Whether the host sees it too, in pinned memory.
    is_mapped : bool
        Whether both are the same memory, which is right where the GPU is integrated.

    Raises
    ------
    EngineError
        If there is not enough memory.

    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, on_host: bool, is_mapped: bool
    ) -> None:
        self._runtime = cudart()
        self.row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        size = self.row_bytes * shape[0]
        self.host: npt.NDArray[Any] | None = None
        self._pinned: Any = None
        self._owned: Any = None
        self.is_mapped = on_host and is_mapped
        try:
            self._allocate(size, shape, np.dtype(dtype), on_host=on_host)
        except BaseException:
            self.free()
            raise

    def _allocate(
        self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, on_host: bool
    ) -> None:
        doing = f'asking for {size / _MIB:.1f} MiB'
        if on_host:
            runtime = self._runtime
            flag = runtime.cudaHostAllocMapped if self.is_mapped else runtime.cudaHostAllocDefault
            self._pinned = call(runtime.cudaHostAlloc, size, flag, doing=doing)
            raw = (ctypes.c_uint8 * size).from_address(int(self._pinned))
            self.host = np.ctypeslib.as_array(raw).view(dtype).reshape(shape)
        if self.is_mapped:
            self.address = int(
                call(self._runtime.cudaHostGetDevicePointer, self._pinned, 0, doing='mapping')
            )
        else:
            self._owned = call(self._runtime.cudaMalloc, size, doing=doing)
            self.address = int(self._owned)

    def copy(self, rows: int, stream: Any, *, to_device: bool) -> None:
        """
        Copy rows between host and device, in the stream's order.

        Parameters
        ----------
        rows : int
            How many, from the first one on.
        stream : cudaStream_t
            Where in time.
        to_device : bool
            Which way.

        """
        if self.host is None or self.is_mapped:
            return
        kinds = self._runtime.cudaMemcpyKind
        kind = kinds.cudaMemcpyHostToDevice if to_device else kinds.cudaMemcpyDeviceToHost
        ends = (self.address, int(self._pinned))
        target, source = ends if to_device else ends[::-1]
        size = rows * self.row_bytes
        call(self._runtime.cudaMemcpyAsync, target, source, size, kind, stream, doing='copying')

    def free(self) -> None:
        """Give the memory back."""
        self.host = None
        owned, self._owned = self._owned, None
        pinned, self._pinned = self._pinned, None
        if owned is not None:
            self._runtime.cudaFree(owned)
        if pinned is not None:
            self._runtime.cudaFreeHost(pinned)
