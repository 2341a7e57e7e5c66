"""The command that builds an engine, as people can paste it."""

from __future__ import annotations

from pathlib import Path
import shlex

from ros_ood_monitor.engines.build_options import BuildOptions

__all__ = ['build_command']


def build_command(
    bundle: Path,
    library: str,
    *,
    precision: str | None = None,
    options: BuildOptions | None = None,
    device: int = 0,
    cache: Path | None = None,
    force: bool = False,
) -> str:
    """
    Return the command that builds an engine.

    Parameters
    ----------
    bundle : Path
        What it is built of.
    library : {'tensorrt', 'tensorrt_rtx'}
        What builds and runs it.
    precision : str, optional
        One of the bundle's.
    options : BuildOptions, optional
        What it is built for.
    device : int, default 0
        The GPU.
    cache : Path, optional
        Folder of all engines, where it was named.
    force : bool, default False
        Whether one that is there is built again.

    Returns
    -------
    str
        For a shell; what is a default is left out.

    """
    options, usual = options or BuildOptions(), BuildOptions()
    words = ['ood_monitor', 'build-engine', str(bundle), '--library', library]
    if precision:
        words += ['--precision', precision]
    if options.batch != usual.batch:
        words += ['--batch', *map(str, options.batch)]
    if options.tf32:
        words += ['--tf32']
    if options.workspace_mib:
        words += ['--workspace', str(options.workspace_mib)]
    if options.compute_capabilities:
        words += ['--compute-capability', *options.compute_capabilities]
    if device:
        words += ['--device', str(device)]
    if cache is not None:
        words += ['--cache', str(cache)]
    if force:
        words += ['--force']
    return shlex.join(words)
