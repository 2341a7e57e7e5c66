"""What every engine promises: network input in, Reading out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.records import Reading

__all__ = ['Engine', 'check_batch', 'reading_of']


class Engine(Protocol):
    """Backbone and scorer of one bundle, ready on one device."""

    precision: str
    """The bundle's precision that it runs."""

    @property
    def batch(self) -> int:
        """Return how many inputs gain by one call: 1 where they take what they take one by one."""
        ...

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """
        Score a batch of network inputs.

        Parameters
        ----------
        batch : ndarray of shape (n, height, width, 3), uint8
            RGB pixels at the bundle's input size, n at least 1.

        Returns
        -------
        Reading
            Scores of the n inputs; the ``raw_score`` of an input with an answer that is not finite
            is NaN, whichever answer it was. That is a matter of this input alone.

        Raises
        ------
        EngineError
            If the shape does not fit or the library fails.

        """
        ...

    def warm_up(self) -> None:
        """Run whatever a call may find not ready yet, so that no frame pays for it."""
        ...

    def describe(self) -> dict[str, str]:
        """
        Return the facts that diagnostics show.

        Returns
        -------
        dict of str to str
            At least ``engine``, ``version``, ``device``, ``precision`` and ``chosen``, which is
            why it is this one.

        """
        ...

    def close(self) -> None:
        """Give back what the device holds; the engine is unusable afterwards."""
        ...


def check_batch(batch: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    """
    Refuse what is no batch of network inputs.

    Parameters
    ----------
    batch : ndarray
        What an engine was given.
    shape : tuple of int
        Height, width and 3, as the bundle wants them.

    Raises
    ------
    EngineError
        If shape or dtype do not fit.

    """
    if batch.ndim != 4 or batch.shape[1:] != shape or batch.dtype != np.uint8:
        msg = (
            f'engine input mismatch: expected (n, {", ".join(map(str, shape))}) uint8, '
            f'got {batch.shape} {batch.dtype}'
        )
        raise EngineError(msg)


def reading_of(
    raw_score: npt.NDArray[np.float32], patch_score: npt.NDArray[np.float32] | None = None
) -> Reading:
    """
    Return scores as a reading, in which one input's odd answer spoils no other's.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float32
        What an engine computed.
    patch_score : ndarray of shape (n, grid_height, grid_width), float32, optional
        The same by cell, where the bundle has a map.

    Returns
    -------
    Reading
        The same, ``raw_score`` as float64: NaN where it, or a cell of its map, is not finite.

    """
    scores = raw_score.astype(np.float64)
    is_finite = np.isfinite(scores)
    if patch_score is not None:
        is_finite &= np.isfinite(patch_score).all(axis=(1, 2))  # (n,)
    scores[~is_finite] = np.nan
    return Reading(scores, patch_score)
