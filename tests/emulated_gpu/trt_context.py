"""What runs an engine on a stream: contexts, strict about what they are given and when."""

# ruff: noqa: EM101, EM102
# what is refused becomes a line of the log

from __future__ import annotations

import json
from typing import Any
import weakref

import numpy as np

from tests.emulated_gpu.machine import Refused, Stream, UNSET, Work
from tests.emulated_gpu.trt_names import (
    Allocation,
    can_fail,
    DataType,
    Severity,
    Specialization,
    TensorIOMode,
)

_DTYPES = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.UINT8: np.uint8}


class RuntimeConfig:
    """``IRuntimeConfig`` of ``tensorrt_rtx``."""

    dynamic_shapes_kernel_specialization_strategy = Specialization.LAZY

    def __init__(self, engine: Any) -> None:
        self.engine, self.machine, self.log = engine, engine.machine, engine.log
        self.allocation, self.cache = Allocation.STATIC, None

    def set_execution_context_allocation_strategy(self, strategy: Allocation) -> None:
        self.allocation = strategy

    @can_fail(None)
    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self)

    @can_fail(False)
    def set_runtime_cache(self, cache: Any) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """``IRuntimeCache``: which shapes were compiled, by GPU."""

    _SIGN = b'emulated kernels '

    def __init__(self, config: RuntimeConfig) -> None:
        self.machine, self.log, self.kernels = config.machine, config.log, set[str]()

    @can_fail(False)
    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(self._SIGN):
            self.log.log(Severity.WARNING, 'the cache is rejected')
            return False
        self.kernels = set(json.loads(content[len(self._SIGN) :]))
        return True

    @can_fail(None)
    def serialize(self) -> memoryview:
        return memoryview(self._SIGN + json.dumps(sorted(self.kernels)).encode())


class Context:
    """``IExecutionContext``."""

    def __init__(self, engine: Any, kind: Any) -> None:
        self.engine = engine  # pybind11 keeps it alive as well
        self.machine, self.log = engine.machine, engine.log
        self.config = kind if isinstance(kind, RuntimeConfig) else None
        strategy = self.config.allocation if self.config else Allocation(kind)
        self._is_managed = strategy == Allocation.USER_MANAGED
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory: tuple[int, int] | None = None
        self._is_settled = False  # updates of a changed shape are done
        self.state = 0  # counts changes
        self.machine.own(self, 'Context')

    @can_fail(False)
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted, limits = tuple(self.engine.get_tensor_shape(name)), self.engine.profile.get(name)
        is_fit = len(shape) == len(wanted) and all(
            w in (-1, s) for w, s in zip(wanted, shape, strict=True)
        )
        if not is_fit or (limits and not limits[0][0] <= shape[0] <= limits[2][0]):
            self.log.log(Severity.ERROR, f'shape {shape} of {name} is outside of the profile')
            return False
        if self._shapes.get(name) != shape:
            self._shapes[name], self._is_settled = tuple(shape), False
            self.state += 1
        return True

    @can_fail(False)
    def set_tensor_address(self, name: str, address: int) -> bool:
        if type(address) is not int or name not in self._names():
            return False
        self._addresses[name] = address
        self.state += 1
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        self._memory = (address, size)
        self.state += 1

    @can_fail(RuntimeError('shape inference failed'))
    def infer_shapes(self) -> list[str]:
        return [
            name
            for name in self._names(TensorIOMode.INPUT)
            if -1 in tuple(self.engine.get_tensor_shape(name)) and name not in self._shapes
        ]

    @can_fail(False)
    def execute_async_v3(self, stream: int) -> bool:
        if type(stream) is not int:
            msg = f'a stream is a whole number here, not {stream!r}'
            raise TypeError(msg)
        try:
            self._enqueue(self.machine.get(stream, Stream))
        except Refused as refused:
            self.log.log(Severity.ERROR, str(refused))
            return False
        return True

    def _names(self, mode: TensorIOMode | None = None) -> list[str]:
        names = [self.engine.get_tensor_name(k) for k in range(self.engine.num_io_tensors)]
        return [n for n in names if mode is None or self.engine.get_tensor_mode(n) == mode]

    def _enqueue(self, stream: Stream) -> None:
        missing = [name for name in self._names() if not self._addresses.get(name)]
        if missing or self.infer_shapes.__wrapped__(self):
            raise Refused(f'addresses of {missing} or shapes are not set')
        if self.machine.device != self.engine.device:
            raise Refused("the current device is not the engine's")
        places = list(self._places().values())
        if self._is_managed and self.engine.device_memory_size_v2:
            if self._memory is None or self._memory[1] < self.engine.device_memory_size_v2:
                raise Refused('device memory is not set, or too small')
            places.append(self._memory)
        for place in places:
            self.machine.found(*place, on_device=True)
        if stream.captured is not None:
            if not self._is_settled:
                raise Refused('a changed shape is not to be captured: run once before')
            self._check_capture()
        self._is_settled = True
        self._compile()
        work = Work(self._run, places, weakref.ref(self), self.state)
        self.machine.enqueue(stream, work)

    def _check_capture(self) -> None:
        if self.config is None:
            return
        strategy = self.config.dynamic_shapes_kernel_specialization_strategy
        if self.engine.is_dynamic and strategy == Specialization.LAZY:
            raise Refused('kernels that come later are not to be captured')
        if not self.machine.is_capturable:
            raise Refused('this engine is not stream capturable')

    def _compile(self) -> None:
        if self.config is not None:
            kernel = json.dumps([sorted(self.engine.profile), sorted(self._shapes.items())])
            if self.config.cache is None or kernel not in self.config.cache.kernels:
                self.machine.compiled.append(kernel)
            if self.config.cache is not None:
                self.config.cache.kernels.add(kernel)

    def _places(self) -> dict[str, tuple[int, int]]:
        rows = next(iter(self._shapes.values()))[0] if self._shapes else 1
        return {
            name: (self._addresses[name], int(np.prod(self._shape(name, rows))) * dtype.itemsize)
            for name in self._names()
            for dtype in [np.dtype(_DTYPES[self.engine.get_tensor_dtype(name)])]
        }

    def _shape(self, name: str, rows: int) -> tuple[int, ...]:
        return tuple(rows if size == -1 else size for size in self.engine.get_tensor_shape(name))

    def _run(self) -> None:
        rows = next(iter(self._shapes.values()))[0] if self._shapes else 1
        found = {}
        for name, (address, size) in self._places().items():
            memory = self.machine.found(address, size, on_device=True)
            raw = memory.bytes[address - memory.address :][:size]
            dtype = _DTYPES[self.engine.get_tensor_dtype(name)]
            found[name] = raw.view(dtype).reshape(self._shape(name, rows))
        if self._is_managed and self._memory is not None:
            scratch = self.machine.found(*self._memory, on_device=True)
            scratch.bytes[self._memory[0] - scratch.address :][: self._memory[1]] = UNSET
        given = {name: found[name].copy() for name in self._names(TensorIOMode.INPUT)}
        for name, made in self.engine.run(given).items():
            found[name][...] = made


class RtxContext(Context):
    @can_fail(False)
    def is_stream_capturable(self, stream: int) -> bool:
        self.machine.get(stream, Stream)
        return self.machine.is_capturable
