"""``cuda.bindings.runtime`` on the emulated GPU: the functions that the project calls."""

# ruff: noqa: EM101, N802
# a status's name is no message, and functions are called as CUDA's are

from __future__ import annotations

from collections.abc import Callable
import ctypes
import functools
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.emulated_gpu.machine import Event, Machine, Memory, Refused, Stream, Work

_MIB = 2**20
_MEMORY = 4096 * _MIB

CALLS: dict[str, int] = {}
"""How many values each function answers with, besides its status."""


class Graph(list[Work]):
    """What was captured."""


class GraphExec(list[Work]):
    """What can be replayed."""


def _answers(values: int, *, releases: bool = False) -> Callable[[Any], Any]:
    """Turn a body into a function that answers with a status and its values, or None for each."""

    def wrap(body: Callable[..., Any]) -> Callable[..., Any]:
        CALLS[body.__name__] = values

        @functools.wraps(body)
        def function(self: Runtime, *args: Any) -> tuple[Any, ...]:
            machine, errors = self.machine, self.real.cudaError_t
            with machine.lock:
                is_failing = machine.is_failing(body.__name__)
                try:
                    if machine.broken and body.__name__ != 'cudaDriverGetVersion':
                        raise Refused(machine.broken)
                    if is_failing and not releases:
                        if body.__name__ == 'cudaStreamEndCapture':  # it ends all the same
                            self._get(args[0], Stream).captured = None
                        raise Refused(machine.error)
                    made = body(self, *args)
                except Refused as refused:
                    return (getattr(errors, str(refused)), *[None] * values)
                # giving back does so, and may tell of what failed before
                status = getattr(errors, machine.error) if is_failing else errors.cudaSuccess
                return (status, *((made,) if values == 1 else made or ()))

        return function

    return wrap


class Runtime(ModuleType):
    """Types, flags and errors of the real module, functions of the emulation."""

    def __init__(self, machine: Machine) -> None:
        import cuda.bindings.runtime as real

        super().__init__('cuda.bindings.runtime')
        self.machine, self.real = machine, real

    def __getattr__(self, name: str) -> Any:
        known = getattr(self.real, name)
        if callable(known) and not isinstance(known, type):
            msg = f'{name} is not emulated'
            raise AttributeError(msg)
        return known

    # devices ------------------------------------------------------------------------------------

    @_answers(1)
    def cudaGetDeviceCount(self) -> int:
        return self.machine.devices

    @_answers(1)
    def cudaDriverGetVersion(self) -> int:
        return 12060

    @_answers(1)
    def cudaGetDeviceProperties(self, device: int) -> Any:
        self._check_device(device)
        name = f'Emulated {device}'.encode().ljust(256, b'\0')
        facts = {'name': name, 'major': 8, 'minor': 7, 'totalGlobalMem': _MEMORY}
        facts['multiProcessorCount'] = 8
        known = self.real.cudaDeviceProp()
        assert all(hasattr(known, each) for each in (*facts, 'integrated'))
        return SimpleNamespace(**facts, integrated=int(self.machine.is_integrated))

    @_answers(0)
    def cudaSetDevice(self, device: int) -> None:
        self._check_device(device)
        self.machine.device = device

    @_answers(0)
    def cudaSetDeviceFlags(self, flags: int) -> None:
        if flags != self.real.cudaDeviceScheduleBlockingSync:
            raise Refused('cudaErrorInvalidValue')

    @_answers(0)
    def cudaDeviceSynchronize(self) -> None:
        self.machine.refuse_in_capture('waiting for the device')
        for stream in self.machine.streams():
            if stream.device == self.machine.device:
                self.machine.run(stream)

    @_answers(2)
    def cudaMemGetInfo(self) -> tuple[int, int]:
        return _MEMORY - self._used(), _MEMORY

    # memory -------------------------------------------------------------------------------------

    @_answers(1)
    def cudaMalloc(self, size: int) -> int:
        return self._allocate(size).address

    @_answers(1)
    def cudaHostAlloc(self, size: int, flags: int) -> int:
        is_mapped = bool(flags & self.real.cudaHostAllocMapped)
        return self._allocate(size, is_host=True, is_mapped=is_mapped).address

    @_answers(1)
    def cudaHostGetDevicePointer(self, host: int, flags: int) -> int:
        memory = self.machine.found(host, 1)
        if flags or not memory.is_mapped:
            raise Refused('cudaErrorInvalidValue')
        return host

    @_answers(0, releases=True)
    def cudaFree(self, address: int) -> None:
        self.machine.free(address, is_host=False)

    @_answers(0, releases=True)
    def cudaFreeHost(self, address: int) -> None:
        self.machine.free(address, is_host=True)

    @_answers(0)
    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: Any) -> None:
        kinds = self.real.cudaMemcpyKind
        if not isinstance(kind, kinds) or not all(type(p) is int for p in (target, source, size)):
            msg = 'a copy takes whole numbers and a cudaMemcpyKind'
            raise TypeError(msg)
        is_from_host = kind == kinds.cudaMemcpyHostToDevice
        is_to_host = kind == kinds.cudaMemcpyDeviceToHost

        def find() -> None:
            self.machine.found(source, size, on_device=not is_from_host)
            self.machine.found(target, size, on_device=not is_to_host)

        def run() -> None:
            find()
            ctypes.memmove(target, source, size)

        find()
        self.machine.enqueue(
            self._get(stream, Stream), Work(run, [(target, size), (source, size)])
        )

    # streams and events -------------------------------------------------------------------------

    @_answers(1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        if flags != self.real.cudaStreamNonBlocking:
            raise Refused('cudaErrorInvalidValue')
        return self._make('cudaStream_t', Stream(self.machine.device))

    @_answers(0)
    def cudaStreamSynchronize(self, stream: Any) -> None:
        found = self._get(stream, Stream)
        self.machine.refuse_in_capture('waiting for a stream')
        self.machine.run(found)

    @_answers(0, releases=True)
    def cudaStreamDestroy(self, stream: Any) -> None:
        found = self._get(stream, Stream)
        if found.pending or found.captured is not None:
            self.machine.warn('a stream is destroyed that has not finished')
        del self.machine.handles[int(stream)]

    @_answers(1)
    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        return self._make('cudaEvent_t', Event(self.machine.device, flags))

    @_answers(1)
    def cudaEventCreate(self) -> Any:
        return self._make('cudaEvent_t', Event(self.machine.device, 0))

    @_answers(0)
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        marked, found = self._get(event, Event), self._get(stream, Stream)
        if marked.device != found.device:
            raise Refused('cudaErrorInvalidResourceHandle')
        mark = object()

        def run() -> None:
            marked.reached, marked.time = mark, time.perf_counter()

        self.machine.enqueue(found, Work(run))
        marked.mark, marked.stream = mark, found

    @_answers(0)
    def cudaEventSynchronize(self, event: Any) -> None:
        marked = self._get(event, Event)
        self.machine.refuse_in_capture('waiting for an event')
        if marked.stream is not None:
            self.machine.run(marked.stream, lambda: marked.reached is marked.mark)

    @_answers(1)
    def cudaEventElapsedTime(self, start: Any, end: Any) -> float:
        ends = [self._get(event, Event) for event in (start, end)]
        if any(each.flags & self.real.cudaEventDisableTiming or not each.mark for each in ends):
            raise Refused('cudaErrorInvalidResourceHandle')
        if any(each.reached is not each.mark for each in ends):
            raise Refused('cudaErrorNotReady')
        return 1e3 * (ends[1].time - ends[0].time)

    @_answers(0, releases=True)
    def cudaEventDestroy(self, event: Any) -> None:
        self._get(event, Event)
        del self.machine.handles[int(event)]

    # graphs -------------------------------------------------------------------------------------

    @_answers(0)
    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        found = self._get(stream, Stream)
        if found.captured is not None:
            raise Refused('cudaErrorIllegalState')
        if mode != self.real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal:
            msg = 'only the mode that is used is emulated'
            raise NotImplementedError(msg)
        found.captured, found.is_spoilt, found.thread = [], False, threading.get_ident()

    @_answers(1)
    def cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self._get(stream, Stream)
        if found.captured is None:
            raise Refused('cudaErrorIllegalState')
        if found.thread != threading.get_ident():
            raise Refused('cudaErrorStreamCaptureWrongThread')
        captured, found.captured = found.captured, None
        if found.is_spoilt:
            raise Refused('cudaErrorStreamCaptureInvalidated')
        return self._make('cudaGraph_t', Graph(captured))

    @_answers(1)
    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        if flags:
            raise Refused('cudaErrorInvalidValue')
        return self._make('cudaGraphExec_t', GraphExec(self._get(graph, Graph)))

    @_answers(0, releases=True)
    def cudaGraphDestroy(self, graph: Any) -> None:
        self._get(graph, Graph)
        del self.machine.handles[int(graph)]

    @_answers(0)
    def cudaGraphLaunch(self, graph: Any, stream: Any) -> None:
        captured, found = self._get(graph, GraphExec), self._get(stream, Stream)
        for work in captured:
            if work.context is not None and work.context() is None:
                self.machine.warn('a graph is replayed whose context is gone')
                raise Refused('cudaErrorIllegalAddress')
            if work.context is not None and work.context().state != work.state:
                self.machine.warn('a graph is replayed whose context was changed')
                raise Refused('cudaErrorIllegalAddress')
        for work in captured:
            self.machine.enqueue(found, work)

    @_answers(0, releases=True)
    def cudaGraphExecDestroy(self, graph: Any) -> None:
        self._get(graph, GraphExec)
        del self.machine.handles[int(graph)]

    # ------------------------------------------------------------------------------------------

    def _check_device(self, device: int) -> None:
        if not 0 <= device < self.machine.devices:
            raise Refused('cudaErrorInvalidDevice')

    def _used(self) -> int:
        return sum(memory.size for memory in self.machine.memory if not memory.is_host)

    def _allocate(self, size: int, **kind: bool) -> Memory:
        if type(size) is not int:
            msg = f'a size is a whole number, not {size!r}'
            raise TypeError(msg)
        if self._used() + size > _MEMORY:
            raise Refused('cudaErrorMemoryAllocation')
        return self.machine.allocate(size, **kind)

    def _make(self, kind: str, thing: Any) -> Any:
        self.machine.refuse_in_capture(f'making a {kind}')
        return getattr(self.real, kind)(self.machine.add(thing))

    def _get(self, handle: Any, kind: type) -> Any:
        names = {Stream: 'cudaStream_t', Event: 'cudaEvent_t', Graph: 'cudaGraph_t'}
        wanted = getattr(self.real, names.get(kind, 'cudaGraphExec_t'))
        if not isinstance(handle, wanted):
            msg = f'expected {wanted.__name__}, got {handle!r}'
            raise TypeError(msg)
        return self.machine.get(int(handle), kind)
