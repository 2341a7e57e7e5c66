"""One graph to a plan: the strongly typed network, its profile, and how far its build is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
import re
from typing import Any, Final, NamedTuple

from ros_ood_monitor.engines.build_options import BuildOptions
from ros_ood_monitor.engines.timings import keep_timings, take_timings
from ros_ood_monitor.engines.trt_library import ask, Library, make_log, NO_MEMORY
from ros_ood_monitor.errors import EngineError

__all__ = ['OnProgress', 'Plan', 'Shape', 'build_plan', 'make_monitor']

_MIB: Final = 2**20
_NO_WORKSPACE: Final = re.compile('insufficient workspace|workspace .*too small', re.IGNORECASE)

OnProgress = Callable[[str, float], None]
Shape = tuple[int, ...]


class Plan(NamedTuple):
    """
    What the library built of a graph.

    Parameters
    ----------
    content : bytes
        For the runtime.
    layers : int
        How many the network had before they were fused.
    tensors : dict of str to tuple of int
        Shapes of its inputs and outputs; -1 for a number of pictures that is left open.

    """

    content: bytes
    layers: int
    tensors: dict[str, Shape]


def build_plan(
    onnx: bytes,
    library: Library,
    *,
    part: str,
    options: BuildOptions,
    given: Mapping[str, Shape] | None = None,
    timings: Path | None = None,
    on_progress: OnProgress = lambda _what, _share: None,
) -> Plan:
    """
    Build one graph.

    Parameters
    ----------
    onnx : bytes
        The graph; its precision is in it.
    library : Library
        What builds it.
    part : {'backbone', 'scorer'}
        Which one it is.
    options : BuildOptions
        What it is built for.
    given : mapping of str to tuple of int, optional
        Shapes of inputs that the graph itself leaves open, such as a map's.
    timings : Path, optional
        File of measured kernels, read and written; speeds up later builds on the same GPU.
    on_progress : callable
        Told what is done and how much of it, from 0 to 1.

    Returns
    -------
    Plan
        Whole; it was not run.

    Raises
    ------
    EngineError
        If the library does not start, refuses the graph or cannot build it.

    """
    trt, log = library.module, make_log(library)
    log.clear()
    builder = ask(trt.Builder, log, library=library, log=log, doing='starting to build')
    # real on 10.x; always on, and 0, in 11.x and RTX
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not ask(parser.parse, onnx, library=library, log=log, doing=f'reading the {part}'):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        why = '; '.join(f'{e.node_operator()} {e.node_name()}: {e.desc()}' for e in errors)
        msg = f'{library.name} {library.version} refuses the {part}: {why or log.tail()}'
        raise EngineError(msg)
    config = builder.create_builder_config()
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if part == 'scorer' or not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    _close_shapes(network, given or {}, options.batch)
    _add_profile(builder, network, config, options.batch)
    if library.is_rtx:
        # without it a kernel may take memory while it runs, which no CUDA graph can capture
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        _aim(trt, config, options.compute_capabilities)
    elif timings is not None:
        take_timings(config, timings)
    monitor = make_monitor(library, lambda share: on_progress(part, share))
    config.progress_monitor = monitor
    on_progress(part, 0.0)
    build, doing = builder.build_serialized_network, f'building the {part}'
    plan = ask(build, network, config, library=library, log=log, doing=doing)
    if monitor.error is not None:
        raise monitor.error
    if plan is None:
        msg = f'{library.name} {library.version} cannot build the {part}: {_reason(log)}'
        raise EngineError(msg)
    on_progress(part, 1.0)
    if timings is not None and not library.is_rtx:
        keep_timings(config, timings)
    made = [network.get_output(k) for k in range(network.num_outputs)]
    known = {tensor.name: tuple(tensor.shape) for tensor in [*_inputs(network), *made]}
    return Plan(bytes(plan), int(network.num_layers), known)


def make_monitor(library: Library, on_share: Callable[[float], None]) -> Any:
    """
    Return what the library tells its progress to.

    Parameters
    ----------
    library : Library
        Whose.
    on_share : callable
        Told the share of the outermost phase that is done; raising stops the build.

    Returns
    -------
    IProgressMonitor
        With ``error``, what stopped the build.

    """

    class Monitor(library.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.error: BaseException | None = None
            self._outer: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._outer[phase_name] = max(num_steps, 1)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if phase_name in self._outer:
                    on_share(min(1.0, (step + 1) / self._outer[phase_name]))
            except BaseException as error:  # noqa: BLE001, no exception passes through C++
                self.error = error
            return self.error is None

        def phase_finish(self, phase_name: str) -> None:
            self._outer.pop(phase_name, None)

    return Monitor()


def _reason(log: Any) -> str:
    """Return why nothing was built, and what mends it where that is known."""
    if log.holds(_NO_WORKSPACE):
        return f'its scratch memory is too small: {log.tail()}; give a larger --workspace'
    if log.holds(NO_MEMORY):
        return (
            f'there is not enough memory: {log.tail()}; end other programs that use the GPU, or '
            'give a smaller --workspace or --batch'
        )
    return str(log.tail())


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(k) for k in range(network.num_inputs)]


def _close_shapes(network: Any, given: Mapping[str, Shape], batch: tuple[int, int, int]) -> None:
    """Give open sizes of inputs their known values, and the number of pictures where it is one."""
    for tensor in _inputs(network):
        shape, known = tuple(tensor.shape), given.get(tensor.name, ())
        if -1 in shape[1:] and len(known) == len(shape):
            rest = (k if size == -1 else size for size, k in zip(shape, known, strict=True))
            shape = (shape[0], *tuple(rest)[1:])
        if shape[0] == -1 and len(set(batch)) == 1:
            shape = (batch[0], *shape[1:])
        if shape != tuple(tensor.shape):
            tensor.shape = shape


def _add_profile(builder: Any, network: Any, config: Any, batch: tuple[int, int, int]) -> None:
    profile, is_dynamic = builder.create_optimization_profile(), False
    for tensor in _inputs(network):
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            msg = f'only the batch may be dynamic: input {tensor.name!r} is {shape}'
            raise EngineError(msg)
        if shape[0] == -1:
            is_dynamic = True
            profile.set_shape(tensor.name, *((rows, *shape[1:]) for rows in batch))
    if is_dynamic:
        config.add_optimization_profile(profile)


def _aim(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:
    if not capabilities:
        return
    known = trt.ComputeCapability.__members__
    wanted = [f'SM{text.replace(".", "")}' for text in capabilities]
    for text, name in zip(capabilities, wanted, strict=True):
        if name not in known:
            allowed = [f'{key[2:-1]}.{key[-1]}' for key in known if key.startswith('SM')]
            msg = f'tensorrt_rtx does not build for {text}: expected some of {allowed}'
            raise EngineError(msg)
    config.num_compute_capabilities = len(wanted)
    for k, name in enumerate(wanted):
        config.set_compute_capability(known[name], k)
