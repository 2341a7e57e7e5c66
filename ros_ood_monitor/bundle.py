"""
The portable artefact between trainer and robot: a folder, or a .zip of it.

It holds ``manifest.yaml``, ``scorer.onnx`` and for every precision ``backbone.<p>.onnx``,
``calibration.<p>.npz`` and ``goldens.<p>.npz``; from the trainer also ``training.yaml`` and
``trained_frames.bin``. Nothing in it is executable, nothing is pickled.
Every file's SHA-256 stands in the manifest, as does a digest of the manifest itself; all are
checked on loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import hashlib
import json
from pathlib import Path
import re
from typing import Any
import zipfile

import yaml

from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.errors import BundleError, CalibrationError
from ros_ood_monitor.goldens import Goldens, Infers, Verification
from ros_ood_monitor.manifest import FORMAT_VERSION, Manifest, parse_manifest
from ros_ood_monitor.sketch import FrameSketch

__all__ = ['Bundle', 'bundle_digest', 'precision_files', 'write_bundle']

MANIFEST = 'manifest.yaml'
SKETCH = 'trained_frames.bin'
_OUTSIDE = frozenset({'name', 'created', 'digest'})


def bundle_digest(raw: Mapping[str, Any]) -> str:
    """
    Return the digest of a bundle's content.

    Parameters
    ----------
    raw : mapping
        The manifest, with the digests of all other files.

    Returns
    -------
    str
        SHA-256 in hex over everything but the name, the time of creation and the digest itself.

    """
    content = {key: value for key, value in raw.items() if key not in _OUTSIDE}
    canonical = json.dumps(content, sort_keys=True, separators=(',', ':'), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


class Bundle:
    """
    A loaded bundle whose files are proven to be the ones that were written.

    Use `Bundle.load`.

    Parameters
    ----------
    path : Path
        The folder or the .zip.
    manifest : Manifest
        Its checked manifest.

    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = bundle_digest(manifest.raw)

    def __repr__(self) -> str:
        return (
            f'Bundle({self.manifest.name!r}, digest={self.digest[:12]}, path={str(self.path)!r})'
        )

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """
        Load a bundle and check every file's digest.

        Parameters
        ----------
        path : str or Path
            A bundle's folder or .zip.

        Returns
        -------
        Bundle
            The bundle.

        Raises
        ------
        BundleError
            If it is missing, damaged, incomplete or of a newer format; the message names the file.

        """
        path = Path(path)
        text = _decode(_read(path, MANIFEST), path)
        try:
            manifest = parse_manifest(text)
        except BundleError as error:
            msg = f'{error}: {path / MANIFEST}'
            raise BundleError(msg) from error
        bundle = cls(path, manifest)
        if bundle.digest != manifest.digest:
            msg = (
                f'bundle file {MANIFEST!r} is damaged: expected digest {manifest.digest[:12]}, '
                f'got {bundle.digest[:12]}; copy the bundle again: {path}'
            )
            raise BundleError(msg)
        for name in ('scorer.onnx', *(n for p in manifest.precisions for n in precision_files(p))):
            if name not in manifest.digests:
                msg = f'bundle is incomplete: no digest for {name!r}; re-export the bundle: {path}'
                raise BundleError(msg)
        for name in manifest.digests:
            bundle.read(name)
        return bundle

    def read(self, name: str) -> bytes:
        """
        Return the content of one file, after checking its digest.

        Parameters
        ----------
        name : str
            File name inside the bundle.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        BundleError
            If it is missing, not listed in the manifest, or changed since it was written.

        """
        expected = self.manifest.digests.get(name)
        if expected is None:
            held = sorted(self.manifest.digests)
            msg = f'bundle has no file {name!r}; it holds {held}: {self.path}'
            raise BundleError(msg)
        content = _read(self.path, name)
        got = hashlib.sha256(content).hexdigest()
        if got != expected:
            msg = (
                f'bundle file {name!r} is damaged: '
                f'expected sha256 {expected[:12]}, got {got[:12]}; '
                f'copy the bundle again: {self.path}'
            )
            raise BundleError(msg)
        return content

    def precision(self, wanted: str | None = None) -> str:
        """
        Return the precision to use.

        Parameters
        ----------
        wanted : str, optional
            One of the manifest's precisions; the first one where it is not given.

        Returns
        -------
        str
            A precision that the bundle holds.

        Raises
        ------
        BundleError
            If the bundle does not hold it.

        """
        held = self.manifest.precisions
        if not wanted:
            return held[0]
        if wanted not in held:
            msg = f'bundle has no precision {wanted!r}: it holds {list(held)}: {self.path}'
            raise BundleError(msg)
        return wanted

    def backbone(self, precision: str | None = None) -> bytes:
        """Return the backbone's ONNX file (uint8 image in, tapped features out)."""
        return self.read(precision_files(self.precision(precision))[0])

    def scorer(self) -> bytes:
        """Return the scorer's ONNX file (features in, raw_score out)."""
        return self.read('scorer.onnx')

    def calibration(self, precision: str | None = None) -> Calibration:
        """Return the calibration of a precision."""
        name = precision_files(self.precision(precision))[1]
        try:
            return Calibration.from_bytes(self.read(name))
        except CalibrationError as error:
            msg = f'{error}; re-export the bundle: {self.path / name}'
            raise BundleError(msg) from error

    def goldens(self, precision: str | None = None) -> Goldens:
        """Return the goldens of a precision."""
        name = precision_files(self.precision(precision))[2]
        content = self.read(name)
        try:
            return Goldens.from_bytes(content)
        except BundleError as error:
            msg = f'{error}: {self.path / name}'
            raise BundleError(msg) from error

    def trained_frames(self) -> FrameSketch | None:
        """Return the sketch of the frames that it was trained on; older bundles have none."""
        if SKETCH not in self.manifest.digests:
            return None
        try:
            return FrameSketch.from_bytes(self.read(SKETCH))
        except BundleError as error:
            msg = f'{error}: {self.path / SKETCH}'
            raise BundleError(msg) from error

    def verify(self, engine: Infers, precision: str | None = None) -> Verification:
        """
        Compare an engine with the goldens, one by one and as a batch.

        Parameters
        ----------
        engine : Engine
            The engine to prove.
        precision : str, optional
            The precision it runs; the first one where it is not given.

        Returns
        -------
        Verification
            The worst golden, relative to its tolerance.

        """
        tolerance = self.manifest.verify[self.precision(precision)]
        return self.goldens(precision).compare(
            engine,
            absolute=tolerance.absolute,
            relative=tolerance.relative,
            map_absolute=tolerance.map_absolute,
        )


def precision_files(precision: str) -> tuple[str, str, str]:
    """
    Return the names of a precision's files.

    Parameters
    ----------
    precision : str
        Its name.

    Returns
    -------
    tuple of str
        Backbone, calibration, goldens.

    """
    return (
        f'backbone.{precision}.onnx',
        f'calibration.{precision}.npz',
        f'goldens.{precision}.npz',
    )


def _read(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        msg = f'bundle file names must be plain, got {name!r}: {path}'
        raise BundleError(msg)
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                return archive.read(_member(archive, name))
    except (FileNotFoundError, KeyError) as error:
        if name == MANIFEST:
            raise BundleError(_no_bundle(path)) from error
        msg = f'bundle is incomplete: expected a file {name!r}, got none: {path}'
        raise BundleError(msg) from error
    except (OSError, zipfile.BadZipFile) as error:
        msg = f'bundle is not readable ({error}): {path}'
        raise BundleError(msg) from error
    msg = f'bundle not found: expected a folder or a .zip, got nothing there: {path}'
    raise BundleError(msg)


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """Return a file's name in an archive of a bundle's files, or of the folder around them."""
    names = archive.namelist()
    if MANIFEST in names:
        return name
    folders = [held.split('/')[0] for held in names if re.fullmatch(f'[^/]+/{MANIFEST}', held)]
    return f'{folders[0]}/{name}' if len(folders) == 1 else name


def _no_bundle(path: Path) -> str:
    """Say that there is no manifest, and which bundles lie one level further down."""
    where = ' in the .zip or in the only folder in it' if path.is_file() else ''
    inside = sorted(file.parent.name for file in path.glob(f'*/{MANIFEST}'))
    hint = f'; it holds the bundles {", ".join(inside)}' if inside else ''
    return f'no bundle: expected a file {MANIFEST!r}{where}, got none{hint}: {path}'


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as error:
        msg = f'manifest is not UTF-8 text: {path / MANIFEST}'
        raise BundleError(msg) from error


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
