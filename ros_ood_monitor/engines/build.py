"""From a bundle's ONNX files to an engine for one device, once, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import datetime as dt
from pathlib import Path
import time
from typing import Final, TYPE_CHECKING

from ros_ood_monitor.engines.build_options import (
    BuildOptions,
    check_precision,
    pick_precision,
    PRECISIONS,
)
from ros_ood_monitor.engines.cache import (
    cache_folder,
    EngineFiles,
    Identity,
    PARTS,
    prepare_cache,
    read_engines,
    write_engine,
)
from ros_ood_monitor.engines.command import build_command
from ros_ood_monitor.engines.cuda import call, cudart, Device, find_device
from ros_ood_monitor.engines.plan import build_plan, OnProgress, Plan, Shape
from ros_ood_monitor.engines.target import gpu_facts, target_of
from ros_ood_monitor.engines.timings import timing_file
from ros_ood_monitor.engines.trt_library import check_installed, Library, load_library
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
    'check_can_run',
    'graph_digests',
    'pick_precision',
]

_MIB: Final = 2**20


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
        refuses a graph; or the folder cannot be written.
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
        check_precision(found.name, precision)
    gpu = _gpu_of_build(found, device)
    target = target_of(found, gpu, options)
    mend = build_command(
        bundle.path,
        found.name,
        precision=precision,
        options=options,
        device=device,
        cache=cache,
        force=True,
    )
    folder = cache_folder(cache)
    identity = Identity(
        onnx=graph_digests(bundle, precision),
        precision=precision,
        library=found.name,
        version=found.version,
        target=target,
        options=options.card(),
    )
    if not force:
        for engine in read_engines(folder):
            if engine.identity == identity and engine.is_whole:
                return replace(engine, mend=mend), False
    prepare_cache(folder)
    if gpu is not None:  # the library builds for the one that is current
        call(cudart().cudaSetDevice, gpu.index, doing='choosing the GPU')
    started = time.perf_counter()
    graphs = {'backbone': bundle.backbone(precision), 'scorer': bundle.scorer()}
    timings = None if found.is_rtx else timing_file(folder, found, target)
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
    if gpu is not None:
        about |= {**gpu_facts(gpu), 'driver': gpu.driver}
    return replace(write_engine(folder, identity, plans, about), mend=mend), True


def graph_digests(bundle: Bundle, precision: str) -> dict[str, str]:
    """Return the SHA-256 of each graph, as the manifest has them."""
    digests = bundle.manifest.digests
    return {
        'backbone': digests[f'backbone.{precision}.onnx'],
        'scorer': digests['scorer.onnx'],
    }


def _gpu_of_build(library: Library, device: int) -> Device | None:
    """Return the GPU that a build uses; None where ``tensorrt_rtx`` builds without one."""
    try:
        return find_device(device)
    except EngineError as error:
        if not library.is_rtx:
            msg = f'{library.name} builds on the device that runs the engine: {error}'
            raise EngineError(msg) from error
        try:
            find_device()
        except EngineError:
            return None
        raise  # there are others


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
    _gpu_of_build(found, device)


def check_can_run(library: str, *, device: int = 0) -> None:
    """
    Refuse a build before it begins where its engine could not run: no library, driver or GPU.

    Parameters
    ----------
    library : {'tensorrt', 'tensorrt_rtx'}
        What shall build and run it; it is looked for and not loaded.
    device : int, default 0
        The GPU.

    Raises
    ------
    EngineError
        If one of them is not there; the message says how to mend it.

    """
    try:
        check_installed(library)
        find_device(device)
    except EngineError as error:
        msg = f'nothing is built, since an engine could not run here: {error}'
        raise EngineError(msg) from error
