"""What is normal at each place of the map: mean and deviation, shrunk towards what is around."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ['Maps', 'statistics']

Maps: TypeAlias = npt.NDArray[np.float64]

_NEAR_FRAMES: Final = 8  # what a place's neighbours count beside the frames seen at it
_PRIOR_FRAMES: Final = 3  # what the whole map counts beside both
_NARROWEST: Final = 0.25  # smallest deviation at a place, as a share of the whole map's


def statistics(scores: Maps, expected: float) -> tuple[Maps, Maps]:
    """
    Return what is normal at each place.

    Parameters
    ----------
    scores : ndarray of shape (n, gh, gw), float64
        Maps of frames that nothing was fitted to.
    expected : float
        The detector's `deviation`: a hundredth of it is the least deviation anywhere.

    Returns
    -------
    mean, std : ndarray of shape (gh, gw), float64
        Of n frames a place's own values count ``n / (n + 8)`` and those of the 3 x 3 cells around
        it the rest; of both together ``n / (n + 3)``, and the whole map's the rest. A deviation is
        at least a quarter of the whole map's, so that a corner in which nothing ever moves turns
        no noise into an anomaly.

    """
    mean = _shrunk(scores.mean(axis=0), len(scores))  # (gh, gw)
    squares = np.square(scores - mean).mean(axis=0)  # (gh, gw)
    variance = _shrunk(squares, len(scores))
    least = max(_NARROWEST * float(np.sqrt(squares.mean())), 0.01 * expected)
    return mean, np.maximum(np.sqrt(variance), least)


def _shrunk(values: Maps, frames: int) -> Maps:
    """Return means of places over some frames, shrunk towards neighbours and whole map."""
    options: dict[str, Any] = {'normalize': False, 'borderType': cv2.BORDER_CONSTANT}
    sums = cv2.boxFilter(values, -1, (3, 3), **options)
    counts = cv2.boxFilter(np.ones_like(values), -1, (3, 3), **options)
    own, seen = (frames / (frames + prior) for prior in (_NEAR_FRAMES, _PRIOR_FRAMES))
    near = own * values + (1.0 - own) * sums / counts  # (gh, gw)
    return np.asarray(seen * near + (1.0 - seen) * values.mean(), np.float64)
