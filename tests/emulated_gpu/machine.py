"""What the emulated GPU holds: memory, streams of pending work, and who was careless with them."""

# ruff: noqa: EM101
# a status's name is no message

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
import itertools
import threading
from typing import Any
import weakref

import numpy as np

UNSET = 0xFF
"""What memory holds that nobody has written: no number where it is read as float."""

_ALIGNMENT = 256  # as cudaMalloc promises


class Refused(Exception):  # noqa: N818, it becomes a status
    """A call that CUDA answers with an error."""


@dataclass(eq=False)
class Memory:
    """A block on the device, or pinned on the host."""

    size: int
    is_host: bool
    is_mapped: bool = False

    def __post_init__(self) -> None:
        self._block = np.full(self.size + _ALIGNMENT, UNSET, np.uint8)
        start = -self._block.ctypes.data % _ALIGNMENT
        self.bytes = self._block[start : start + self.size]
        self.address = int(self.bytes.ctypes.data)

    def holds(self, address: int, size: int) -> bool:
        return self.address <= address and address + size <= self.address + self.size


@dataclass(eq=False)
class Work:
    """Something that a stream does when its turn comes."""

    run: Callable[[], None]
    touches: list[tuple[int, int]] = field(default_factory=list)  # addresses and sizes
    context: Any = None  # of TensorRT, with its state when this was enqueued
    state: int = 0


@dataclass(eq=False)
class Stream:
    device: int
    pending: deque[Work] = field(default_factory=deque)
    captured: list[Work] | None = None
    is_spoilt: bool = False  # the capture is
    thread: int = 0  # that captures


@dataclass(eq=False)
class Event:
    device: int
    flags: int
    mark: object = None
    reached: object = None
    time: float = 0.0
    stream: Stream | None = None


class Machine:
    """
    The state of all emulated devices.

    Every call of CUDA or TensorRT that can fail counts. ``fail_at`` makes the n-th one fail from
    now on (the first is 1), ``break_down`` makes all of CUDA fail, as after a lost GPU.
    """

    def __init__(self, *, is_integrated: bool, devices: int) -> None:
        self.is_integrated, self.devices = is_integrated, devices
        self.lock = threading.RLock()
        self.memory: list[Memory] = []
        self.freed: list[Memory] = []
        self.handles: dict[int, Any] = {}  # streams, events, graphs
        self.objects: Counter[str] = Counter()  # of TensorRT
        self.carelessness: list[str] = []
        self.calls: list[str] = []
        self.compiled: list[str] = []  # kernels, by tensorrt_rtx
        self.is_capturable = True
        self.is_eager = (
            False  # work is done as soon as it is enqueued, the other thing GPUs may do
        )
        self.error = 'cudaErrorUnknown'
        self.broken: str | None = None
        self._fail_at = 0
        self._numbers = itertools.count(0x1000, 0x10)  # never used twice
        self._thread = threading.local()

    # failures -----------------------------------------------------------------------------------

    def fail_at(self, call: int, error: str = 'cudaErrorUnknown') -> None:
        self.calls.clear()
        self._fail_at, self.error = call, error

    def is_failing(self, name: str) -> bool:
        """Count a call and tell whether it is the one that fails."""
        self.calls.append(name)
        return len(self.calls) == self._fail_at

    def break_down(self, error: str) -> None:
        self.broken = error

    def warn(self, text: str) -> None:
        self.carelessness.append(text)

    # things -------------------------------------------------------------------------------------

    @property
    def device(self) -> int:
        """Return the calling thread's device."""
        return getattr(self._thread, 'device', 0)

    @device.setter
    def device(self, index: int) -> None:
        self._thread.device = index

    def allocate(self, size: int, *, is_host: bool = False, is_mapped: bool = False) -> Memory:
        self.refuse_in_capture('an allocation')
        made = Memory(size, is_host, is_mapped)
        self.memory.append(made)
        return made

    def free(self, address: int, *, is_host: bool) -> None:
        self.refuse_in_capture('giving memory back')
        found = next((m for m in self.memory if m.address == address), None)
        if found is None or found.is_host != is_host:
            self.warn(f'{address:#x} is freed and is no such memory, or twice')
            raise Refused('cudaErrorInvalidValue')
        for work in (work for stream in self.streams() for work in stream.pending):
            if any(found.holds(*place) for place in work.touches):
                self.warn(f'{address:#x} is freed while work on it is pending')
        found.bytes[:] = UNSET
        self.memory.remove(found)
        self.freed.append(found)

    def found(self, address: int, size: int, *, on_device: bool | None = None) -> Memory:
        """Return the memory that holds these bytes; ``on_device``: that a GPU or host reaches."""
        for memory in self.memory:
            if memory.holds(address, size):
                is_fit = on_device is None or (
                    not memory.is_host or memory.is_mapped if on_device else memory.is_host
                )
                if is_fit:
                    return memory
        raise Refused('cudaErrorIllegalAddress' if on_device else 'cudaErrorInvalidValue')

    def add(self, thing: Any) -> int:
        number = next(self._numbers)
        self.handles[number] = thing
        return number

    def get(self, number: int, kind: type) -> Any:
        thing = self.handles.get(number)
        if not isinstance(thing, kind):
            self.warn(f'{number:#x} is used and is no {kind.__name__}, or none any more')
            raise Refused('cudaErrorInvalidResourceHandle')
        return thing

    def own(self, thing: Any, kind: str) -> None:
        """Count an object of TensorRT for as long as it lives."""
        self.objects[kind] += 1
        weakref.finalize(thing, self.objects.subtract, {kind: 1}).atexit = False

    # streams ------------------------------------------------------------------------------------

    def streams(self) -> list[Stream]:
        return [thing for thing in self.handles.values() if isinstance(thing, Stream)]

    def capturing(self) -> Stream | None:
        """Return what the calling thread captures."""
        here = threading.get_ident()
        return next(
            (s for s in self.streams() if s.captured is not None and s.thread == here), None
        )

    def refuse_in_capture(self, what: str) -> None:
        stream = self.capturing()
        if stream is not None:
            stream.is_spoilt = True
            self.warn(f'{what} while capturing')
            raise Refused('cudaErrorStreamCaptureUnsupported')

    def enqueue(self, stream: Stream, work: Work) -> None:
        if stream.device != self.device:
            raise Refused('cudaErrorInvalidResourceHandle')
        if stream.captured is None:
            stream.pending.append(work)
            if self.is_eager:
                self.run(stream)
        elif stream.is_spoilt:
            raise Refused('cudaErrorStreamCaptureInvalidated')
        else:
            stream.captured.append(work)

    def run(self, stream: Stream, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Do a stream's work, all of it or until it is enough."""
        if self.broken:
            raise Refused(self.broken)
        while stream.pending and not is_enough():
            try:
                stream.pending.popleft().run()
            except Refused as refused:
                self.warn(f'{refused} while running')
                self.broken = str(refused)  # as on a GPU: nothing works any more
                raise

    # accounts -----------------------------------------------------------------------------------

    def held(self) -> dict[str, int]:
        """Return how much of what is not given back."""
        kinds = Counter('pinned memory' if m.is_host else 'memory' for m in self.memory)
        kinds.update(type(thing).__name__ for thing in self.handles.values())
        kinds.update(self.objects)
        return {kind: count for kind, count in kinds.items() if count}

    def check(self) -> None:
        """Raise where something is held, or was used in a way that is not allowed."""
        for memory in self.freed:
            if (memory.bytes != UNSET).any():
                self.warn(f'{memory.address:#x} is written after it was given back')
        assert not self.held(), self.held()
        assert not self.carelessness, self.carelessness
