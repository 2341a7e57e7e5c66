"""Stored inputs with their answers, and how well an engine reproduces them."""

from __future__ import annotations

from dataclasses import dataclass
import io
from typing import Protocol
import zipfile

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
    max_error : float
        Largest difference of raw_score, in the bundle's unit.
    tolerance : float
        What was allowed for that golden.
    count : int
        Number of goldens.

    """

    ok: bool
    max_error: float
    tolerance: float
    count: int

    def __str__(self) -> str:
        word = 'reproduces' if self.ok else 'does NOT reproduce'
        return (
            f'engine {word} {self.count} goldens: largest raw_score error '
            f'{self.max_error:.2e}, tolerance {self.tolerance:.2e}'
        )


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

    Raises
    ------
    BundleError
        If the shapes disagree or there are fewer than two.

    """

    image: npt.NDArray[np.uint8]
    raw_score: npt.NDArray[np.float64]

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

    def to_bytes(self) -> bytes:
        """
        Return the content of a ``goldens.<precision>.npz``; equal for equal values.

        Returns
        -------
        bytes
            A compressed npz archive without pickled objects.

        """
        buffer = io.BytesIO()
        np.savez_compressed(buffer, image=self.image, raw_score=self.raw_score)
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
                return cls(archive['image'], np.asarray(archive['raw_score'], dtype=np.float64))
        except (KeyError, OSError, zipfile.BadZipFile, ValueError) as error:
            if isinstance(error, BundleError):
                raise
            msg = f"goldens are not readable: expected 'image' and 'raw_score', got {error}"
            raise BundleError(msg) from error

    def compare(self, engine: Infers, *, absolute: float, relative: float) -> Verification:
        """
        Run an engine on the goldens, one by one and as a batch.

        Parameters
        ----------
        engine : Engine
            The engine to prove.
        absolute, relative : float
            A golden passes where its error is at most ``absolute + relative * abs(raw_score)``.

        Returns
        -------
        Verification
            The worst golden, relative to its tolerance.

        """
        single = np.array([engine.infer(image[np.newaxis]).raw_score[0] for image in self.image])
        batch = engine.infer(self.image).raw_score  # (k,)
        error = np.maximum(np.abs(single - self.raw_score), np.abs(batch - self.raw_score))  # (k,)
        allowed = absolute + relative * np.abs(self.raw_score)
        worst = int(np.argmax(error / allowed))
        return Verification(
            ok=bool(error[worst] <= allowed[worst]),
            max_error=float(error[worst]),
            tolerance=float(allowed[worst]),
            count=int(self.raw_score.shape[0]),
        )
