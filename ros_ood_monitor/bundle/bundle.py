"""A loaded bundle: every file proven to be the one that was written."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

from ros_ood_monitor.bundle.files import MANIFEST, precision_files, read_file, SKETCH
from ros_ood_monitor.bundle.goldens import Goldens, Infers, Verification
from ros_ood_monitor.bundle.manifest import Manifest, parse_manifest
from ros_ood_monitor.bundle.sketch import FrameSketch
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.errors import BundleError, CalibrationError

__all__ = ['Bundle', 'bundle_digest']

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

    Raises
    ------
    BundleError
        If it has no canonical text: a value that holds itself, keys that are not all of one kind.

    """
    content = {key: value for key, value in raw.items() if key not in _OUTSIDE}
    try:
        canonical = json.dumps(content, sort_keys=True, separators=(',', ':'), default=str)
    except (RecursionError, TypeError, ValueError) as error:
        msg = f'manifest must be plain values by plain keys ({error}); re-export the bundle'
        raise BundleError(msg) from error
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
        text = _decode(read_file(path, MANIFEST), path)
        try:
            manifest = parse_manifest(text)
            bundle = cls(path, manifest)
        except BundleError as error:
            msg = f'{error}: {path / MANIFEST}'
            raise BundleError(msg) from error
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
        content = read_file(self.path, name)
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
            Of all goldens, with the worst one, relative to its tolerance.

        """
        tolerance = self.manifest.verify[self.precision(precision)]
        return self.goldens(precision).compare(
            engine,
            absolute=tolerance.absolute,
            relative=tolerance.relative,
            map_absolute=tolerance.map_absolute,
        )


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as error:
        msg = f'manifest is not UTF-8 text: {path / MANIFEST}'
        raise BundleError(msg) from error
