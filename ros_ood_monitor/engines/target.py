"""What an engine is bound to: a GPU, or compute capabilities."""

from __future__ import annotations

from typing import Final

from ros_ood_monitor.engines.build_options import BuildOptions
from ros_ood_monitor.engines.cache import Identity
from ros_ood_monitor.engines.cuda import Device
from ros_ood_monitor.engines.trt_library import Library

__all__ = ['PORTABLE', 'gpu_facts', 'is_for', 'target_of']

PORTABLE: Final = 'portable'
"""What an engine of ``tensorrt_rtx`` is for that was aimed at no compute capability."""


def target_of(library: Library, gpu: Device | None, options: BuildOptions) -> dict[str, str]:
    """
    Return what an engine that is built now is bound to.

    Parameters
    ----------
    library : Library
        ``tensorrt`` binds to one GPU, ``tensorrt_rtx`` to compute capabilities: it finishes the
        engine on the device that runs it.
    gpu : Device or None
        The GPU; ``tensorrt_rtx`` needs none.
    options : BuildOptions
        Which compute capabilities.

    Returns
    -------
    dict of str to str
        Plain facts.

    """
    if library.is_rtx:
        return {'compute_capabilities': ' '.join(options.compute_capabilities) or PORTABLE}
    assert gpu is not None
    return gpu_facts(gpu)


def is_for(engine: Identity, library: Library, gpu: Device) -> bool:
    """
    Tell whether an engine was built for a GPU.

    Parameters
    ----------
    engine : Identity
        What it depends on.
    library : Library
        What shall run it.
    gpu : Device
        Where.

    Returns
    -------
    bool
        Whether the library may take it; a portable one it may still refuse.

    """
    if not library.is_rtx:
        return engine.target == gpu_facts(gpu)
    meant = engine.target.get('compute_capabilities', '')
    return meant == PORTABLE or gpu.compute_capability in meant.split()


def gpu_facts(gpu: Device) -> dict[str, str]:
    """Return what of a GPU an engine of ``tensorrt`` is bound to."""
    return {
        'gpu': gpu.name,
        'compute_capability': gpu.compute_capability,
        # all Jetsons of a generation have one name
        'memory': f'{gpu.memory_mib // 1024} GiB',
        'multiprocessors': f'{gpu.multiprocessors} SM',
    }
