"""From network input to Reading: backbone and scorer on one device, behind one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ros_ood_monitor.engines.base import Engine
from ros_ood_monitor.errors import EngineError

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['ENGINES', 'Engine', 'open_engine']

ENGINES = ('auto', 'onnxruntime')
"""Names that `open_engine` takes."""


def open_engine(
    bundle: Bundle, engine: str = 'auto', *, precision: str | None = None, threads: int = 1
) -> Engine:
    """
    Open a bundle on this device.

    Parameters
    ----------
    bundle : Bundle
        The bundle to run.
    engine : {'auto', 'onnxruntime'}, default 'auto'
        The inference library; ``auto`` takes ONNX Runtime on the CPU.
    precision : str, optional
        One of the bundle's precisions; the first one where it is not given.
    threads : int, default 1
        CPU threads of the engine.

    Returns
    -------
    Engine
        Ready, not yet warmed up.

    Raises
    ------
    EngineError
        If the name is unknown or the library cannot run the bundle.

    """
    if engine not in ENGINES:
        msg = f'engine is unknown: expected one of {list(ENGINES)}, got {engine!r}'
        raise EngineError(msg)
    from ros_ood_monitor.engines.ort_engine import OrtEngine

    return OrtEngine(bundle, precision=precision, threads=threads)
