"""Where a bundle goes: refused before the work, proven before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
import tempfile
from typing import Any

from ros_ood_monitor.bundle import write_bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import BundleError, EngineError

__all__ = ['check_name', 'check_target', 'prove']


def check_target(out: Path, *, overwrite: bool) -> None:
    """
    Refuse now what writing would refuse after all the work.

    Parameters
    ----------
    out : Path
        Folder of the bundle.
    overwrite : bool
        Whether a bundle that is there is replaced.

    Raises
    ------
    BundleError
        If it exists, is no bundle, or nothing can be written there.

    """
    if out.exists() and not overwrite:
        msg = f'output exists already; choose another name or pass --overwrite: {out}'
        raise BundleError(msg)
    if out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not (out / 'manifest.yaml').is_file()
    ):
        msg = f'output exists and is no bundle, so it is not replaced: {out}'
        raise BundleError(msg)
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        tempfile.TemporaryDirectory(prefix='.ood_monitor.', dir=parent).cleanup()
    except OSError as error:
        msg = f'output cannot be written ({error.strerror or error} in {parent}): {out}'
        raise BundleError(msg) from error


def check_name(name: str) -> None:
    """
    Refuse a bundle's name that is no plain one.

    Parameters
    ----------
    name : str
        As it was given; empty for that of the folder.

    Raises
    ------
    BundleError
        If it is a path, or holds what no file name may hold.

    """
    if name and (name in ('.', '..') or not name.isprintable() or set(name) & set('/\\')):
        msg = f'bundle name must be a plain name, no path: expected such as moon-v3, got {name!r}'
        raise BundleError(msg)


def prove(
    manifest: Mapping[str, Any], files: Mapping[str, bytes], precisions: Sequence[str]
) -> None:
    """
    Write the bundle where nobody looks and let the deployed engine reproduce its goldens.

    Parameters
    ----------
    manifest : mapping
        As for `write_bundle`.
    files : mapping of str to bytes
        As for `write_bundle`.
    precisions : sequence of str
        All of the bundle's.

    Raises
    ------
    EngineError
        If one is not reproduced.

    """
    with tempfile.TemporaryDirectory(prefix='ood_monitor_train.') as folder:
        bundle = write_bundle(Path(folder, 'bundle'), manifest=manifest, files=files)
        for precision in precisions:
            engine = open_engine(bundle, 'onnxruntime', precision=precision)
            result = bundle.verify(engine, precision)
            engine.close()
            if not result.ok:
                msg = f'{precision}: {result}; use another version of ONNX Runtime'
                raise EngineError(msg)
