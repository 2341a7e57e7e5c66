"""From a bundle's ONNX files to an engine for one device, once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
from dataclasses import dataclass
import datetime as dt
from pathlib import Path
import re
import time
from typing import Any, Final, NamedTuple, TYPE_CHECKING

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.engines.cache import (
    cache_folder,
    EngineFiles,
    Identity,
    PARTS,
    read_engines,
    write_engine,
)
from ros_ood_monitor.engines.cuda import Device, find_device
from ros_ood_monitor.engines.trt_library import Library, load_library, make_log
from ros_ood_monitor.errors import EngineError

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = [
    'PRECISIONS',
    'BuildOptions',
    'Plan',
    'build_engine',
    'build_plan',
    'check_can_build',
    'gpu_facts',
    'graph_digests',
    'pick_precision',
    'target_of',
]

PRECISIONS: Final = {
    'tensorrt': ('fp32', 'fp16', 'trt-int8'),
    'tensorrt_rtx': ('fp32', 'fp16'),  # its int8 is for weights of matrix products alone
}
"""Which of a bundle's precisions a library runs."""

_MIB: Final = 2**20

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
        Shapes of its inputs and outputs; -1 for the number of pictures.

    """

    content: bytes
    layers: int
    tensors: dict[str, Shape]


@dataclass(frozen=True)
class BuildOptions:
    """
    What an engine is built for.

    Parameters
    ----------
    batch : tuple of int
        Least, usual and largest number of pictures in one call.
    tf32 : bool
        Whether the backbone's fp32 products may be rounded to TF32; the scorer's never are.
    workspace_mib : int
        Most scratch memory; 0 for as much as there is.
    compute_capabilities : tuple of str
        For ``tensorrt_rtx``: such as ``8.6``; empty for all that it makes portable engines for.

    """

    batch: tuple[int, int, int] = (1, 1, 1)
    tf32: bool = False
    workspace_mib: int = 0
    compute_capabilities: tuple[str, ...] = ()

    def check(self) -> None:
        """
        Refuse values outside their ranges.

        Raises
        ------
        EngineError
            If one is outside its range.

        """
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most:
            msg = f'batch must be 1 <= MIN <= OPT <= MAX, got {least} {usual} {most}'
            raise EngineError(msg)
        if self.workspace_mib < 0:
            msg = f'workspace must be at least 0 MiB, got {self.workspace_mib}'
            raise EngineError(msg)

    def card(self) -> dict[str, Any]:
        """Return what of it decides the engine, as plain values."""
        return {
            'batch': list(self.batch),
            'tf32': self.tf32,
            'workspace_mib': self.workspace_mib,
        }


def build_engine(
    bundle: Bundle,
    *,
    library: str = 'auto',
    precision: str | None = None,
    options: BuildOptions | None = None,
    device: int = 0,
    cache: Path | None = None,
    force: bool = False,
    on_progress: OnProgress = lambda _what, _share: None,
) -> tuple[EngineFiles, bool]:
    """
    Build a bundle's engine, unless it is there already.

    Parameters
    ----------
    bundle : Bundle
        What is deployed.
    library : {'auto', 'tensorrt', 'tensorrt_rtx'}, default 'auto'
        What builds and runs it.
    precision : str, optional
        One of the bundle's; where it is not given fp16 if the bundle has it, else its first one
        that the library runs.
    options : BuildOptions, optional
        What it is built for.
    device : int, default 0
        The GPU; ``tensorrt_rtx`` builds without one, too.
    cache : Path, optional
        Folder of all engines; see `cache_folder`.
    force : bool, default False
        Whether one that is there is built again.
    on_progress : callable
        Told what is done and how much of it, from 0 to 1.

    Returns
    -------
    tuple of EngineFiles and bool
        The engine, and whether it was built now.

    Raises
    ------
    EngineError
        If the library is not there, does not run the precision, sees no GPU and needs one, or
        refuses a graph.
    BundleError
        If the bundle is damaged or has no such precision.

    """
    options = options or BuildOptions()
    options.check()
    found = load_library(library)
    if precision is None:
        precision = pick_precision(found.name, bundle.manifest.precisions)
    else:
        bundle.precision(precision)
        _check_precision(found.name, precision)
    target = target_of(found, device, options)
    cache = cache_folder(cache)
    identity = Identity(
        onnx=graph_digests(bundle, precision),
        precision=precision,
        library=found.name,
        version=found.version,
        target=target,
        options=options.card(),
    )
    if not force:
        for engine in read_engines(cache):
            if engine.identity == identity:
                return engine, False
    started = time.perf_counter()
    graphs = {'backbone': bundle.backbone(precision), 'scorer': bundle.scorer()}
    timings = None if found.is_rtx else _timing_file(cache, found, target)
    plans: dict[str, bytes] = {}
    layers: dict[str, int] = {}
    tensors: dict[str, Shape] = {}
    for part in PARTS:
        built = build_plan(
            graphs[part],
            found,
            part=part,
            options=options,
            given=tensors,  # what the backbone makes, the scorer takes
            timings=timings,
            on_progress=on_progress,
        )
        plans[part], layers[part] = built.content, built.layers
        tensors |= built.tensors
    about = {
        'bundle': bundle.manifest.name,
        'bundle_digest': bundle.digest,
        'built': dt.datetime.now(dt.timezone.utc).isoformat(timespec='seconds'),
        'build_s': round(time.perf_counter() - started, 2),
        'mib': {part: round(len(plan) / _MIB, 2) for part, plan in plans.items()},
        'layers': layers,
        'tensors': {name: list(shape) for name, shape in tensors.items()},
    }
    return write_engine(cache, identity, plans, about), True


def graph_digests(bundle: Bundle, precision: str) -> dict[str, str]:
    """Return the SHA-256 of each graph, as the manifest has them."""
    digests = bundle.manifest.digests
    return {
        'backbone': digests[f'backbone.{precision}.onnx'],
        'scorer': digests['scorer.onnx'],
    }


def target_of(library: Library, device: int, options: BuildOptions) -> dict[str, str]:
    """
    Return what an engine that is built now is bound to.

    Parameters
    ----------
    library : Library
        ``tensorrt`` binds to one GPU, ``tensorrt_rtx`` to compute capabilities: it finishes the
        engine on the device that runs it.
    device : int
        The GPU.
    options : BuildOptions
        Which compute capabilities.

    Returns
    -------
    dict of str to str
        Plain facts.

    Raises
    ------
    EngineError
        If a GPU is needed and there is none.

    """
    if library.is_rtx:
        return {'compute_capabilities': ' '.join(options.compute_capabilities) or 'portable'}
    try:
        gpu = find_device(device)
    except EngineError as error:
        msg = f'{library.name} builds on the device that runs the engine: {error}'
        raise EngineError(msg) from error
    return gpu_facts(gpu)


def gpu_facts(gpu: Device) -> dict[str, str]:
    """Return what of a GPU an engine of ``tensorrt`` is bound to."""
    return {
        'gpu': gpu.name,
        'compute_capability': gpu.compute_capability,
    }


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
        If the library refuses the graph or cannot build it.

    """
    trt, log = library.module, make_log(library)
    log.clear()
    builder = trt.Builder(log)
    # real on 10.x; always on, and 0, in 11.x and RTX
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        why = '; '.join(f'{e.node_operator()} {e.node_name()}: {e.desc()}' for e in errors)
        msg = f'{library.name} {library.version} refuses the {part}: {why or log.tail()}'
        raise EngineError(msg)
    config = builder.create_builder_config()
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if part == 'scorer' or not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    _close_shapes(network, given or {})
    _add_profile(builder, network, config, options.batch)
    cache = None
    if library.is_rtx:
        _aim(trt, config, options.compute_capabilities)
    elif timings is not None:
        cache = config.create_timing_cache(_read_or_nothing(timings))
        config.set_timing_cache(cache, ignore_mismatch=False)
    monitor = make_monitor(library, lambda share: on_progress(part, share))
    config.progress_monitor = monitor
    on_progress(part, 0.0)
    plan = builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if plan is None:
        msg = f'{library.name} {library.version} cannot build the {part}: {log.tail()}'
        raise EngineError(msg)
    on_progress(part, 1.0)
    if cache is not None and timings is not None:
        with contextlib.suppress(OSError), new_file(timings) as file:  # it only saves time
            file.write_bytes(bytes(config.get_timing_cache().serialize()))
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


def pick_precision(library: str, held: Sequence[str]) -> str:
    """
    Return the precision that an engine is built in where none is named.

    Parameters
    ----------
    library : {'tensorrt', 'tensorrt_rtx'}
        What builds and runs it.
    held : sequence of str
        What the bundle has.

    Returns
    -------
    str
        fp16 if the bundle has it, else its first one that the library runs.

    Raises
    ------
    EngineError
        If the library runs none of them.

    """
    runs = PRECISIONS[library]
    for precision in ('fp16', *held):
        if precision in held and precision in runs:
            return precision
    msg = (
        f'{library} runs none of the precisions of this bundle: expected one of {list(runs)}, '
        f'got {list(held)}; train with --precisions fp16'
    )
    raise EngineError(msg)


def check_can_build(library: str, precisions: Sequence[str], *, device: int = 0) -> None:
    """
    Refuse what `build_engine` would refuse, before a bundle is there.

    Parameters
    ----------
    library : {'auto', 'tensorrt', 'tensorrt_rtx'}
        What shall build.
    precisions : sequence of str
        What the bundle will have.
    device : int, default 0
        The GPU.

    Raises
    ------
    EngineError
        If the library or its GPU is not there, or it runs none of the precisions.

    """
    found = load_library(library)
    pick_precision(found.name, precisions)
    target_of(found, device, BuildOptions())


def _check_precision(library: str, precision: str) -> None:
    runs = PRECISIONS[library]
    if precision not in runs:
        msg = f'{library} does not run {precision!r}: expected one of {list(runs)}'
        raise EngineError(msg)


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(k) for k in range(network.num_inputs)]


def _close_shapes(network: Any, given: Mapping[str, Shape]) -> None:
    """Give open sizes of inputs their known values; the number of pictures stays open."""
    for tensor in _inputs(network):
        shape, known = tuple(tensor.shape), given.get(tensor.name, ())
        if -1 in shape[1:] and len(known) == len(shape):
            rest = (k if size == -1 else size for size, k in zip(shape, known, strict=True))
            tensor.shape = (shape[0], *tuple(rest)[1:])


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


def _timing_file(cache: Path, library: Library, target: dict[str, str]) -> Path:
    text = f'{library.name}-{library.version}-{target["gpu"]}-{target["compute_capability"]}'
    return cache / f'timing.{re.sub("[^A-Za-z0-9.]+", "-", text)}.cache'


def _read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b''
