"""The engines that were built of a bundle: which is for this device, and which is missing."""

from __future__ import annotations

from dataclasses import replace
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ros_ood_monitor.engines.build import graph_digests
from ros_ood_monitor.engines.build_options import BuildOptions, check_precision, PRECISIONS
from ros_ood_monitor.engines.cache import cache_folder, EngineFiles, Identity, read_engines
from ros_ood_monitor.engines.command import build_command
from ros_ood_monitor.engines.cuda import find_device
from ros_ood_monitor.engines.target import gpu_facts, is_for, PORTABLE
from ros_ood_monitor.engines.trt_library import LIBRARIES, load_library
from ros_ood_monitor.errors import EngineError

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['NotBuiltError', 'built_engines', 'find_built', 'missing_library']


class _MissingError(EngineError):
    """Building an engine mends it."""


class NotBuiltError(_MissingError):
    """Nothing was built of this bundle: the usual case where there is no GPU."""


def built_engines(bundle: Bundle, library: str, *, cache: Path | None = None) -> list[EngineFiles]:
    """
    List the engines of a bundle, for whatever device and version they were built.

    Parameters
    ----------
    bundle : Bundle
        What they were built of.
    library : {'tensorrt', 'tensorrt_rtx'}
        What runs them.
    cache : Path, optional
        Folder of built engines.

    Returns
    -------
    list of EngineFiles
        The newest first.

    """
    runs = [name for name in bundle.manifest.precisions if name in PRECISIONS[library]]
    return [
        engine
        for engine in read_engines(cache_folder(cache))
        if engine.identity.library == library
        and engine.identity.precision in runs
        and engine.identity.onnx == graph_digests(bundle, engine.identity.precision)
    ]


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
    if precision:
        check_precision(library, bundle.precision(precision))
    here = [
        engine
        for engine in built_engines(bundle, library, cache=cache)
        if precision in (None, engine.identity.precision)
    ]
    if not here:
        mend = build_command(bundle.path, library, precision=precision, device=device, cache=cache)
        msg = f'no engine of this bundle is built for {library}; build it: {mend}'
        raise NotBuiltError(msg)
    gpu = find_device(device)
    found = load_library(library)

    def mended(engine: EngineFiles, *, force: bool) -> str:
        identity = engine.identity
        return build_command(
            bundle.path,
            library,
            precision=identity.precision,
            options=_options(identity, keep_aim=force),
            device=device,
            cache=cache,
            force=force,
        )

    for engine in here:
        if engine.identity.version == found.version and is_for(engine.identity, found, gpu):
            return replace(engine, mend=mended(engine, force=True))
    other = here[0].identity
    msg = (
        f'engine was built by {library} {other.version} for {other.meant_for}, '
        f'this is {found.version} on {", ".join(gpu_facts(gpu).values())}; build it again: '
        f'{mended(here[0], force=False)}'
    )
    raise _MissingError(msg)


def _options(identity: Identity, *, keep_aim: bool) -> BuildOptions:
    options = BuildOptions.of(identity.options)
    meant = identity.target.get('compute_capabilities', PORTABLE)
    if keep_aim and meant != PORTABLE:
        options = replace(options, compute_capabilities=tuple(meant.split()))
    return options


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
