"""Stored inputs with their answers, and how well an engine reproduces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import io
import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import BundleError
from ros_ood_monitor.records import Reading

__all__ = ['Goldens', 'Infers', 'Verification']


class Infers(Protocol):
    """The part of an engine that goldens need."""

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """Score a batch of network inputs."""
        ...


@dataclass(frozen=True)
class Verification:
    """
    How well an engine reproduces the goldens.

    Parameters
    ----------
    ok : bool
        Whether every golden is within its tolerance.
    error, tolerance : float
        Difference of raw_score of the worst golden, relative to what is allowed for it, and that;
        in the bundle's unit.
    count : int
        Number of goldens.
    map_error, map_tolerance : float, or None
        The same of the worst map: root mean square difference of its cells, infinity where an
        engine gives none or other cells; None where the goldens have no maps.

    """

    ok: bool
    error: float
    tolerance: float
    count: int
    map_error: float | None = None
    map_tolerance: float | None = None

    def __str__(self) -> str:
        word = 'reproduces' if self.ok else 'does NOT reproduce'
        text = (
            f'engine {word} {self.count} goldens: worst raw_score error '
            f'{self.error:.2e}, tolerance {self.tolerance:.2e}'
        )
        if self.map_error is None or self.map_tolerance is None:
            return text
        return f'{text}; worst map error {self.map_error:.2e}, tolerance {self.map_tolerance:.2e}'


@dataclass(frozen=True, eq=False)
class Goldens:
    """
    Stored inputs with the answers of the engine that the bundle was made with.

    Parameters
    ----------
    image : ndarray of shape (k, height, width, 3), uint8
        Network inputs, k at least 2.
    raw_score : ndarray of shape (k,), float64
        Their scores.
    patch_score : ndarray of shape (k, gh, gw), float32, or None
        Their maps, where the bundle has a map.

    Raises
    ------
    BundleError
        If the shapes disagree or there are fewer than two.

    """

    image: npt.NDArray[np.uint8]
    raw_score: npt.NDArray[np.float64]
    patch_score: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        image, raw_score = self.image, self.raw_score
        if image.ndim != 4 or image.shape[3] != 3 or image.dtype != np.uint8:
            msg = f'golden images must be (k, h, w, 3) uint8, got {image.shape} {image.dtype}'
            raise BundleError(msg)
        if raw_score.shape != (image.shape[0],) or image.shape[0] < 2:
            msg = (
                'goldens need at least two images and a score for each, '
                f'got {image.shape[0]} images and scores {raw_score.shape}'
            )
            raise BundleError(msg)
        maps = self.patch_score
        if maps is not None and (maps.ndim != 3 or maps.shape[0] != image.shape[0]):
            msg = (
                'goldens need a map (gh, gw) for each image or none at all, '
                f'got {image.shape[0]} images and maps {maps.shape}'
            )
            raise BundleError(msg)

    def to_bytes(self) -> bytes:
        """
        Return the content of a ``goldens.<precision>.npz``; equal for equal values.

        Returns
        -------
        bytes
            A compressed npz archive without pickled objects.

        """
        buffer = io.BytesIO()
        maps: dict[str, Any] = (
            {} if self.patch_score is None else {'patch_score': self.patch_score}
        )
        np.savez_compressed(buffer, image=self.image, raw_score=self.raw_score, **maps)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Goldens:
        """
        Read what `to_bytes` wrote.

        Parameters
        ----------
        content : bytes
            Content of a ``goldens.<precision>.npz``.

        Returns
        -------
        Goldens
            The stored values.

        Raises
        ------
        BundleError
            If arrays are missing or misshapen.

        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return cls(
                    archive['image'],
                    np.asarray(archive['raw_score'], dtype=np.float64),
                    archive.get('patch_score', None),
                )
        except BundleError:
            raise
        except Exception as error:  # whatever zipfile and numpy make of damaged bytes
            msg = f"goldens are not readable: expected 'image' and 'raw_score', got {error}"
            raise BundleError(msg) from error

    def compare(
        self, engine: Infers, *, absolute: float, relative: float, map_absolute: float = math.inf
    ) -> Verification:
        """
        Run an engine on the goldens, one by one and as a batch.

        Parameters
        ----------
        engine : Engine
            The engine to prove.
        absolute, relative : float
            A golden passes where its error is at most ``absolute + relative * abs(raw_score)``.
        map_absolute : float, default infinity
            Its map passes where it has the same cells and the root mean square of their errors is
            at most ``map_absolute + relative * rms(patch_score)``.

        Returns
        -------
        Verification
            Of all goldens, with the worst one. An engine without maps reproduces no golden that
            has one, whatever is allowed.

        Raises
        ------
        EngineError
            If the engine fails, or an answer is not finite.

        """
        single = [engine.infer(image[np.newaxis]).require_finite() for image in self.image]
        batch = engine.infer(self.image).require_finite()
        one_by_one = np.array([reading.raw_score[0] for reading in single])  # (k,)
        error = np.maximum(
            np.abs(one_by_one - self.raw_score), np.abs(batch.raw_score - self.raw_score)
        )  # (k,)
        allowed = absolute + relative * np.abs(self.raw_score)
        ok, worst = _judge(error, allowed)
        verification = Verification(
            ok=ok,
            error=float(error[worst]),
            tolerance=float(allowed[worst]),
            count=int(self.raw_score.shape[0]),
        )
        if self.patch_score is None:
            return verification
        error = np.maximum(
            _map_errors([reading.patch_score for reading in single], self.patch_score),
            _map_errors([batch.patch_score], self.patch_score),
        )  # (k,)
        allowed = map_absolute + relative * _rms(self.patch_score)  # (k,)
        ok, worst = _judge(error, allowed)
        return replace(
            verification,
            ok=verification.ok and ok,
            map_error=float(error[worst]),
            map_tolerance=float(allowed[worst]),
        )


def _judge(error: npt.NDArray[np.float64], allowed: npt.NDArray[np.float64]) -> tuple[bool, int]:
    """Return whether each error (k,) is finite and allowed, and which one is the worst."""
    with np.errstate(over='ignore', invalid='ignore'):  # over nothing; infinity over infinity
        ratio = error / np.maximum(allowed, np.finfo(np.float64).tiny)  # (k,)
    ratio[~np.isfinite(error) | np.isnan(ratio)] = np.inf
    worst = np.lexsort((error, ratio))[-1]  # of equal ratios, the one of the largest error
    return bool((np.isfinite(error) & (error <= allowed)).all()), int(worst)


def _map_errors(
    found: Sequence[npt.NDArray[np.float32] | None], expected: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return each map's root mean square error (k,); infinity where it has other cells or none."""
    maps = [part for part in found if part is not None]
    together = np.concatenate(maps) if maps else np.empty(0)
    if together.shape != expected.shape:
        return np.full(len(expected), np.inf)
    return _rms(together.astype(np.float64) - expected)


def _rms(maps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the root mean square of each map's cells, (k,)."""
    squares = np.square(maps.astype(np.float64)).mean(axis=(1, 2))
    return np.asarray(np.sqrt(squares), np.float64)
