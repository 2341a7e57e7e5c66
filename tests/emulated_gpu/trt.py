"""
The execution half of ``tensorrt`` and ``tensorrt_rtx``, strict, on ONNX Runtime.

Names, arguments and answers are those of the libraries' documentation; what fails answers None or
False, or raises what pybind11 raises, with the reason in the log.
"""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import numpy.typing as npt

from tests.emulated_gpu import trt_build
from tests.emulated_gpu.machine import Machine
from tests.emulated_gpu.trt_context import Context, RtxContext, RuntimeCache, RuntimeConfig
from tests.emulated_gpu.trt_names import (
    Allocation,
    can_fail,
    DataType,
    Diagnostics,
    Dims,
    EngineValidity,
    Severity,
    Specialization,
    TensorIOMode,
)
from tests.emulated_gpu.trt_plan import (
    HEADER,
    MAGIC,
    read_plan,
    run_graph,
    version_bytes,
    VERSIONS,
)


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        pass


class Runtime:
    machine: Machine
    library: str

    @property
    def made(self) -> type[Engine]:
        return Engine

    def __init__(self, log: ILogger) -> None:
        self.log = log
        self._begin()
        self.machine.own(self, 'Runtime')

    @can_fail(TypeError('pybind11::init(): factory function returned nullptr'))
    def _begin(self) -> None:
        self.device = self.machine.device

    @can_fail((EngineValidity.INVALID, 0))
    def _validity(self, plan: bytes) -> tuple[EngineValidity, int]:
        if not plan.startswith(MAGIC):
            return EngineValidity.INVALID, int(Diagnostics.MALFORMED_ENGINE)
        if plan[HEADER : HEADER + 3] != version_bytes(self.library):
            return EngineValidity.INVALID, int(Diagnostics.VERSION_MISMATCH)
        return EngineValidity.VALID, 0

    @can_fail(None)
    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        is_fit = plan[HEADER : HEADER + 3] == version_bytes(self.library)
        if not plan.startswith(MAGIC) or not is_fit:
            self.log.log(Severity.ERROR, 'Serialization assertion failed: version or magic')
            return None
        if self.machine.device != self.device:
            self.machine.warn('an engine is loaded on another device than its runtime')
        return self.made(self, plan)


class RtxRuntime(Runtime):
    @property
    def made(self) -> type[Engine]:
        return RtxEngine

    def get_engine_validity(self, plan: bytes) -> tuple[EngineValidity, int]:
        return self._validity(plan)


class Engine:
    """``ICudaEngine``."""

    device_memory_size_v2 = 0

    def __init__(self, runtime: Runtime, plan: bytes) -> None:
        facts, self._onnx = read_plan(plan)
        self.runtime = runtime  # pybind11 keeps it alive as well
        self.machine, self.log, self.device = runtime.machine, runtime.log, runtime.device
        self.profile: dict[str, list[list[int]]] = facts['profile']
        self._tensors = {t['name']: t for t in facts['tensors']}
        self.device_memory_size_v2 = facts['memory']
        self.machine.own(self, 'Engine')

    @property
    def is_dynamic(self) -> bool:
        return bool(self.profile)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, k: int) -> str:
        return list(self._tensors)[k]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode(self._tensors[name]['mode'])

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._tensors[name]['dtype']]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name]['shape'])

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[Dims]:
        return [Dims(shape) for shape in self.profile[name]]

    @can_fail(None)
    def create_execution_context(self, kind: Any = Allocation.STATIC) -> Context | None:
        if self.machine.device != self.device:
            self.machine.warn('a context is made on another device than its engine')
            return None
        self.machine.refuse_in_capture('making a context')
        return (RtxContext if isinstance(kind, RuntimeConfig) else Context)(self, kind)

    def run(self, given: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return run_graph(self._onnx, given)


class RtxEngine(Engine):
    @can_fail(None)
    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self)


def make_library(machine: Machine, name: str) -> ModuleType:
    """Return the module, with the names that the project uses of this library and no others."""
    is_rtx = name == 'tensorrt_rtx'
    module: Any = ModuleType(name)
    module.__version__ = VERSIONS[name]
    module.ILogger = ILogger
    base = RtxRuntime if is_rtx else Runtime
    module.Runtime = type('Runtime', (base,), {'machine': machine, 'library': name})
    module.ICudaEngine = RtxEngine if is_rtx else Engine
    module.IExecutionContext = RtxContext if is_rtx else Context
    module.TensorIOMode = TensorIOMode
    module.ExecutionContextAllocationStrategy = Allocation
    if is_rtx:
        module.IRuntimeConfig, module.IRuntimeCache = RuntimeConfig, RuntimeCache
        module.DynamicShapesKernelSpecializationStrategy = Specialization
        module.EngineValidity, module.EngineInvalidityDiagnostics = EngineValidity, Diagnostics
        module.ComputeCapability = enum.IntEnum('ComputeCapability', {'SM86': 86, 'SM89': 89})
    trt_build.add_names(module, machine, name)
    return module
