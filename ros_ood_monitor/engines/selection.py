"""Which engine runs a bundle here, and why not another."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, TYPE_CHECKING

from ros_ood_monitor.engines.base import Engine
from ros_ood_monitor.engines.built import find_built, NotBuiltError
from ros_ood_monitor.engines.cache import EngineFiles
from ros_ood_monitor.engines.trt_library import agreement, LIBRARIES
from ros_ood_monitor.errors import EngineError

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['ENGINES', 'check_engine', 'open_built', 'open_engine']

PROVIDERS: Final = {
    'onnxruntime': 'CPUExecutionProvider',
    'onnxruntime-cuda': 'CUDAExecutionProvider',
    'onnxruntime-tensorrt': 'TensorrtExecutionProvider',
}
"""What ONNX Runtime runs on, by engine."""

ENGINES: Final = ('auto', *LIBRARIES, *PROVIDERS)
"""Names that `open_engine` takes."""

_log = logging.getLogger(__name__)


def check_engine(name: str) -> None:
    """
    Refuse an engine that nobody knows.

    Parameters
    ----------
    name : str
        One of `ENGINES`.

    Raises
    ------
    EngineError
        If it is none of them.

    """
    if name not in ENGINES:
        msg = f'engine is unknown: expected one of {list(ENGINES)}, got {name!r}'
        raise EngineError(msg)


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

    check_engine(engine)
    bundle.precision(precision)
    reasons: list[str] = []
    not_built: list[str] = []
    for name in LIBRARIES:
        if engine not in ('auto', name):
            continue
        try:
            files = find_built(bundle, name, precision=precision, device=device, cache=cache)
            return open_built(bundle, files, device=device, chosen=_because(engine, reasons))
        except EngineError as error:
            if engine == name and not stand_in:
                raise
            if isinstance(error, NotBuiltError) and engine == 'auto':
                not_built.append(name)
            else:
                reasons.append(f'not {name}: {error}')
    if not_built:
        reasons.append(f'not {" or ".join(not_built)}: no engine of this bundle is built')
    name = engine if engine in PROVIDERS else 'onnxruntime'
    chosen = _because(engine, reasons)
    opened = OrtEngine(
        bundle,
        precision=precision,
        threads=threads,
        provider=PROVIDERS[name],
        device=device,
        cache=cache,
        chosen=chosen,
    )
    if reasons:
        _log.info('engine %s: %s', name, chosen)
    return opened


def _because(asked: str, reasons: list[str]) -> str:
    asked_for = 'auto' if asked == 'auto' else 'asked for'
    return '; '.join([asked_for, *reasons])


def open_built(
    bundle: Bundle, files: EngineFiles, *, device: int = 0, chosen: str = 'asked for'
) -> Engine:
    """
    Open an engine that was built.

    Parameters
    ----------
    bundle : Bundle
        What it was built of.
    files : EngineFiles
        The engine.
    device : int, default 0
        The GPU.
    chosen : str, default 'asked for'
        Why it is this engine.

    Returns
    -------
    Engine
        Ready, not yet warmed up.

    Raises
    ------
    EngineError
        If it does not run here, whatever the library or CUDA raised.

    """
    from ros_ood_monitor.engines.trt_engine import TrtEngine

    try:
        return TrtEngine(bundle, files, device=device, chosen=chosen)
    except EngineError:
        raise
    except Exception as error:  # the bindings' own: another engine may still run
        name = files.identity.library
        msg = f'{name} fails: {type(error).__name__}: {error}; {agreement(name)}'
        raise EngineError(msg) from error
