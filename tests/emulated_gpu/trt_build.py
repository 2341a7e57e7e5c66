"""
As much of the builder as lets an emulated engine be made by the command that makes a real one.

It optimises nothing: a plan is the graph itself with its profile. The real builder of
``tensorrt_rtx`` runs in `tests/unit/test_engine_build.py`, without a GPU.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import onnx

from tests.emulated_gpu.machine import Machine
from tests.emulated_gpu.trt_plan import run_graph, write_plan

_SCRATCH = 4096  # bytes that a context wants on the device

_KINDS = {
    onnx.TensorProto.FLOAT: ('FLOAT', np.float32),
    onnx.TensorProto.FLOAT16: ('HALF', np.float16),
    onnx.TensorProto.UINT8: ('UINT8', np.uint8),
}


class Tensor:
    """``ITensor``."""

    name = ''
    shape: tuple[int, ...] = ()

    def __init__(self, info: Any) -> None:
        self.name, kind = info.name, info.type.tensor_type
        self.dtype, self.numpy = _KINDS[kind.elem_type]
        self.shape = tuple(d.dim_value if d.HasField('dim_value') else -1 for d in kind.shape.dim)


class Network:
    """``INetworkDefinition``."""

    num_layers = 0

    def __init__(self) -> None:
        self.content = b''
        self.inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def read(self, content: bytes) -> None:
        graph = onnx.load_from_string(content).graph
        self.content, self.num_layers = content, len(graph.node)
        self.inputs = [Tensor(info) for info in graph.input]
        self._outputs = [Tensor(info) for info in graph.output]

    def get_input(self, k: int) -> Tensor:
        return self.inputs[k]

    def get_output(self, k: int) -> Tensor:
        return self._outputs[k]


class ParserError:
    """What ``IParserError`` is called in Python; none is ever given."""

    def desc(self) -> str:
        raise NotImplementedError

    def node_name(self) -> str:
        raise NotImplementedError

    def node_operator(self) -> str:
        raise NotImplementedError


class OnnxParser:
    """Reads a graph; nothing is refused but what is none."""

    num_errors = 0

    def __init__(self, network: Network, log: Any) -> None:
        self._network, self._log = network, log

    def parse(self, content: bytes) -> bool:
        try:
            self._network.read(content)
        except Exception as error:  # noqa: BLE001, whatever it is
            self._log.log(1, str(error))
            return False
        return True

    def get_error(self, k: int) -> Any:
        raise IndexError(k)


class Profile:
    """``IOptimizationProfile``."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *limits: tuple[int, ...]) -> None:
        self.shapes[name] = [list(shape) for shape in limits]


class Config:
    """``IBuilderConfig``."""

    progress_monitor: Any = None

    def __init__(self) -> None:
        self.profiles: list[Profile] = []

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return 0

    def set_memory_pool_limit(self, _pool: Any, _size: int) -> None:
        pass

    def clear_flag(self, _flag: Any) -> None:
        pass


class TimingCache:
    """``ITimingCache``."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> memoryview:
        return memoryview(self._content + b'timings')


class ConfigOfTensorrt(Config):
    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, *, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return not ignore_mismatch

    def get_timing_cache(self) -> TimingCache:
        return self._cache


class ConfigOfRtx(Config):
    num_compute_capabilities = 0

    def set_flag(self, _flag: Any) -> None:
        pass

    def set_compute_capability(self, _capability: Any, _k: int) -> bool:
        return True


class Builder:
    machine: Machine
    library: str

    def __init__(self, log: Any) -> None:
        self._log = log
        if self.machine.is_failing('Builder'):
            msg = 'pybind11::init(): factory function returned nullptr'
            raise TypeError(msg)

    def create_network(self, _flags: int) -> Network:
        return Network()

    def create_builder_config(self) -> Config:
        return (ConfigOfRtx if self.library == 'tensorrt_rtx' else ConfigOfTensorrt)()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start('Building', None, 1)
        if not monitor.step_complete('Building', 0):
            return None
        monitor.phase_finish('Building')
        profile = config.profiles[0].shapes if config.profiles else {}
        for tensor in network.inputs:
            if -1 in tensor.shape and tensor.name not in profile:
                self._log.log(1, f'{tensor.name} is dynamic and no profile has it')
                return None
        shapes = {t.name: profile.get(t.name, [t.shape])[-1] for t in network.inputs}
        given = {t.name: np.zeros(shapes[t.name], t.numpy) for t in network.inputs}
        made = run_graph(network.content, given)
        tensors = [
            {'name': t.name, 'mode': 1, 'dtype': t.dtype, 'shape': list(t.shape)}
            for t in network.inputs
        ]
        for k in range(network.num_outputs):
            tensor = network.get_output(k)
            first = -1 if profile else made[tensor.name].shape[0]
            tensor.shape = (first, *made[tensor.name].shape[1:])
            shape = list(tensor.shape)
            tensors.append({'name': tensor.name, 'mode': 2, 'dtype': tensor.dtype, 'shape': shape})
        facts = {'profile': profile, 'tensors': tensors, 'memory': _SCRATCH}
        return write_plan(self.library, facts, network.content)


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


def add_names(module: Any, machine: Machine, library: str) -> None:
    """Give a module what building uses."""
    module.Builder = type('Builder', (Builder,), {'machine': machine, 'library': library})
    module.OnnxParser, module.IProgressMonitor = OnnxParser, IProgressMonitor
    is_rtx = library == 'tensorrt_rtx'
    module.IBuilderConfig = ConfigOfRtx if is_rtx else ConfigOfTensorrt
    module.INetworkDefinition, module.IOptimizationProfile = Network, Profile
    module.ITensor, module.ParserError = Tensor, ParserError
    if not is_rtx:
        module.ITimingCache = TimingCache
    flags = {'TF32': 1} | ({'REQUIRE_USER_ALLOCATION': 2} if is_rtx else {})
    module.BuilderFlag = enum.IntEnum('BuilderFlag', flags)
    module.MemoryPoolType = enum.IntEnum('MemoryPoolType', {'WORKSPACE': 0})
    kind = {'STRONGLY_TYPED': 0 if is_rtx else 1}
    module.NetworkDefinitionCreationFlag = enum.IntEnum('NetworkDefinitionCreationFlag', kind)
