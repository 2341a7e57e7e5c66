"""A bundle on disk: whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import hashlib
from pathlib import Path
from typing import Any

import yaml

from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.bundle.bundle import Bundle, bundle_digest
from ros_ood_monitor.bundle.files import MANIFEST
from ros_ood_monitor.bundle.manifest import FORMAT_VERSION
from ros_ood_monitor.errors import BundleError

__all__ = ['write_bundle']


def write_bundle(
    path: str | Path,
    *,
    manifest: Mapping[str, Any],
    files: Mapping[str, bytes],
    overwrite: bool = False,
    beside: Callable[[Bundle, Path], None] | None = None,
) -> Bundle:
    """
    Write a bundle's folder: aside first, then renamed, so that none is ever half there.

    Parameters
    ----------
    path : str or Path
        Target folder.
    manifest : mapping
        The manifest without ``format``, ``digests`` and ``digest``, which are filled in.
    files : mapping of str to bytes
        Content of every other file by its name.
    overwrite : bool, default False
        Whether an existing bundle there is replaced.
    beside : callable, optional
        Takes the bundle and its folder, and may write there what is no part of the bundle.

    Returns
    -------
    Bundle
        The bundle, loaded from where it was written.

    Raises
    ------
    BundleError
        If the target exists, cannot be written, or the result would not load.

    """
    path = Path(path)
    if path.exists() and not overwrite:
        msg = f'output exists already; choose another name or pass --overwrite: {path}'
        raise BundleError(msg)
    holds_something = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if holds_something and not (path / MANIFEST).is_file():
        msg = f'output exists and is no bundle, so it is not replaced: {path}'
        raise BundleError(msg)
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    full = {'format': FORMAT_VERSION, **manifest, 'digests': digests}
    full['digest'] = bundle_digest(full)
    text = yaml.safe_dump(full, sort_keys=False, allow_unicode=True, width=99)
    try:
        with new_folder(path) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / MANIFEST).write_text(text, encoding='utf-8')
            written = Bundle.load(folder)
            if beside is not None:
                beside(written, folder)
    except OSError as error:
        msg = f'bundle could not be written ({error.strerror or error}); nothing was left: {path}'
        raise BundleError(msg) from error
    return Bundle.load(path)
