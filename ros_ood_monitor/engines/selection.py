"""Which engine runs a bundle here, and why not another."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Final, TYPE_CHECKING

from ros_ood_monitor.engines.base import Engine
from ros_ood_monitor.engines.build import gpu_facts, graph_digests
from ros_ood_monitor.engines.cache import cache_folder, EngineFiles, read_engines
from ros_ood_monitor.engines.cuda import find_device
from ros_ood_monitor.engines.trt_library import LIBRARIES, load_library
from ros_ood_monitor.errors import EngineError

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['ENGINES', 'find_built', 'missing_library', 'open_engine']

PROVIDERS: Final = {
    'onnxruntime': 'CPUExecutionProvider',
    'onnxruntime-cuda': 'CUDAExecutionProvider',
    'onnxruntime-tensorrt': 'TensorrtExecutionProvider',
}
"""What ONNX Runtime runs on, by engine."""

ENGINES: Final = ('auto', *LIBRARIES, *PROVIDERS)
"""Names that `open_engine` takes."""

_log = logging.getLogger(__name__)


class _MissingError(EngineError):
    """Building an engine mends it."""


class _NotBuiltError(_MissingError):
    """Nothing was built of this bundle: the usual case where there is no GPU."""


def open_engine(
    bundle: Bundle,
    engine: str = 'auto',
    *,
    precision: str | None = None,
    threads: int = 1,
    device: int = 0,
    cache: Path | None = None,
    stand_in: bool = False,
) -> Engine:
    """
    Open a bundle on this device.

    ``auto`` takes the first that can run the bundle here of ``tensorrt``, ``tensorrt_rtx`` and
    ``onnxruntime``: the first two need a GPU and an engine that was built for it, the last one
    runs everywhere. ONNX Runtime's GPU providers are taken by name only.

    Parameters
    ----------
    bundle : Bundle
        The bundle to run.
    engine : str, default 'auto'
        One of `ENGINES`.
    precision : str, optional
        One of the bundle's precisions. Where it is not given, that of the engine that was built
        last, and for ONNX Runtime the bundle's first one.
    threads : int, default 1
        CPU threads of the engine.
    device : int, default 0
        The GPU.
    cache : Path, optional
        Folder of built engines; see `cache_folder`.
    stand_in : bool, default False
        Whether ONNX Runtime takes the place of a TensorRT that was asked for by name and cannot
        run the bundle here.

    Returns
    -------
    Engine
        Ready, not yet warmed up. Under ``chosen`` it describes why it is the one.

    Raises
    ------
    EngineError
        If the name is unknown or the library cannot run the bundle.
    BundleError
        If the bundle does not hold the precision.

    """
    from ros_ood_monitor.engines.ort_engine import OrtEngine

    if engine not in ENGINES:
        msg = f'engine is unknown: expected one of {list(ENGINES)}, got {engine!r}'
        raise EngineError(msg)
    bundle.precision(precision)
    reasons: list[str] = []
    not_built: list[str] = []
    for name in LIBRARIES:
        if engine not in ('auto', name):
            continue
        try:
            files = find_built(bundle, name, precision=precision, device=device, cache=cache)
            from ros_ood_monitor.engines.trt_engine import TrtEngine

            return TrtEngine(bundle, files, device=device, chosen=_because(engine, reasons))
        except EngineError as error:
            if engine == name and not stand_in:
                raise
            if isinstance(error, _NotBuiltError) and engine == 'auto':
                not_built.append(name)
            else:
                reasons.append(f'not {name}: {error}')
    if not_built:
        reasons.append(f'not {" or ".join(not_built)}: no engine of this bundle is built')
    name = engine if engine in PROVIDERS else 'onnxruntime'
    chosen = _because(engine, reasons)
    opened = OrtEngine(
        bundle, precision=precision, threads=threads, provider=PROVIDERS[name], chosen=chosen
    )
    if reasons:
        _log.info('engine %s: %s', name, chosen)
    return opened


def _because(asked: str, reasons: list[str]) -> str:
    asked_for = 'auto' if asked == 'auto' else 'asked for'
    return '; '.join([asked_for, *reasons])


def find_built(
    bundle: Bundle,
    library: str,
    *,
    precision: str | None = None,
    device: int = 0,
    cache: Path | None = None,
) -> EngineFiles:
    """
    Find the engine that was built of a bundle for this device.

    Parameters
    ----------
    bundle : Bundle
        What it was built of.
    library : {'tensorrt', 'tensorrt_rtx'}
        What runs it.
    precision : str, optional
        One of the bundle's; any where it is not given.
    device : int, default 0
        The GPU.
    cache : Path, optional
        Folder of built engines.

    Returns
    -------
    EngineFiles
        The one that was built last, of those that fit.

    Raises
    ------
    EngineError
        If such an engine, a GPU or the library is missing; the message says what was built
        instead, and the command that mends it.

    """
    # files first: neither library nor CUDA is loaded where nothing was built for them
    precisions = [bundle.precision(precision)] if precision else list(bundle.manifest.precisions)
    here = [
        engine
        for engine in read_engines(cache_folder(cache))
        if engine.identity.library == library
        and engine.identity.precision in precisions
        and engine.identity.onnx == graph_digests(bundle, engine.identity.precision)
    ]
    mend = f'ood_monitor build-engine {bundle.path} --library {library}'
    if precision:
        mend += f' --precision {precision}'
    if not here:
        msg = f'no engine of this bundle is built for {library}; build it: {mend}'
        raise _NotBuiltError(msg)
    gpu = find_device(device)
    found = load_library(library)
    facts = gpu_facts(gpu)
    for engine in here:
        is_fit = found.is_rtx or engine.identity.target == facts
        if is_fit and engine.identity.version == found.version:
            return engine
    other = here[0].identity
    on = '' if found.is_rtx else f' for {other.target.get("gpu")}'
    to = '' if found.is_rtx else f' on {gpu.name}'
    msg = (
        f'engine was built by {library} {other.version}{on}, this is {found.version}{to}; build '
        f'it again: {mend}'
    )
    raise _MissingError(msg)


def missing_library(
    bundle: Bundle,
    engine: str,
    *,
    precision: str | None = None,
    device: int = 0,
    cache: Path | None = None,
) -> str | None:
    """
    Return the library whose engine would be taken if it were built.

    Parameters
    ----------
    bundle : Bundle
        What is deployed.
    engine : str
        One of `ENGINES`, as it was asked for. ``auto`` means the first library that is installed,
        where there is a GPU; one that is asked for by name need not be there, and building then
        tells what is amiss.
    precision, device, cache
        As in `find_built`.

    Returns
    -------
    str or None
        None where an engine is there, whatever became of it, or none would be taken.

    """
    for name in LIBRARIES:
        if engine not in ('auto', name):
            continue
        try:
            if engine == 'auto':
                find_device(device)
                if importlib.util.find_spec(name) is None:
                    continue
            find_built(bundle, name, precision=precision, device=device, cache=cache)
        except _MissingError:
            return name
        except EngineError:
            pass
        return None
    return None
