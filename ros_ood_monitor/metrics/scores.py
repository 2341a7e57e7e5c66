"""What every metric takes: scores that are there and finite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError

__all__ = ['Scores', 'checked', 'pair']

Scores = npt.NDArray[np.float64]


def checked(raw_score: npt.ArrayLike, what: str) -> Scores:
    """
    Return the scores of one class as an array.

    Raises
    ------
    ParameterError
        If there is none, or one is not finite.

    """
    scores = np.asarray(raw_score, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        msg = f'{what} scores must have shape (n,) with n at least 1, got {scores.shape}'
        raise ParameterError(msg)
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        msg = f'{what} scores must be finite, got {bad} of {scores.size} that are not'
        raise ParameterError(msg)
    return scores


def pair(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Return the scores of both classes, each `checked`."""
    return checked(id_score, 'in-distribution'), checked(ood_score, 'out-of-distribution')
