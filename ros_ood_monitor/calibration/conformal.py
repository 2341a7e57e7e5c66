"""
Split-conformal thresholds: what a share alpha of frames is over, and the frames that this takes.

With n held-out scores, the one of rank ``ceil((n + 1)(1 - alpha))`` is exceeded by a new
exchangeable frame with probability at most alpha; where that rank is beyond n the data cannot
support alpha and calibration refuses.

References
----------
Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World, section 4.2 (inductive
conformal predictors).

"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import rounded_up

__all__ = ['check_support', 'conformal_rank', 'conformal_threshold', 'frames_needed']


def frames_needed(alpha: float) -> int:
    """
    Return how many held-out frames a conformal threshold at alpha needs.

    Parameters
    ----------
    alpha : float
        Share of in-distribution frames allowed over the threshold, in (0, 1).

    Returns
    -------
    int
        The smallest n with ``ceil((n + 1)(1 - alpha)) <= n``.

    Raises
    ------
    CalibrationError
        If alpha is outside (0, 1).

    """
    if not 0.0 < alpha < 1.0:
        msg = f'alpha must lie in (0, 1), got {alpha!r}'
        raise CalibrationError(msg)
    n = max(1, math.floor(1.0 / alpha) - 1)
    while conformal_rank(n, alpha) > n:
        n += 1
    return n


def conformal_rank(n: int, alpha: float) -> int:
    """Return which of n scores in ascending order is the threshold, from 1; over n where none."""
    # the 1e-9 keeps 100 * (1 - 0.01) = 99.00000000000001 from becoming rank 100
    return math.ceil((n + 1) * (1.0 - alpha) - 1e-9)


def check_support(n: int, alpha: float) -> None:
    """
    Refuse an alpha that so few held-out frames cannot support.

    Parameters
    ----------
    n : int
        Held-out frames.
    alpha : float
        Share of in-distribution frames allowed over the threshold, in (0, 1).

    Raises
    ------
    CalibrationError
        If there are fewer frames than alpha needs, or alpha is outside (0, 1).

    """
    needed = frames_needed(alpha)
    if n < needed:
        msg = (
            f'too few held-out frames for alpha = {alpha:g}: expected at least {needed}, got {n}; '
            f'give more frames or an alpha of at least {rounded_up(1.0 / (n + 1)):g}'
        )
        raise CalibrationError(msg)


def conformal_threshold(raw_score: npt.NDArray[np.float64], alpha: float) -> float:
    """
    Return the split-conformal threshold for a share alpha of frames.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float64
        Held-out in-distribution scores, in any order.
    alpha : float
        Share of in-distribution frames allowed over the threshold, in (0, 1).

    Returns
    -------
    float
        Threshold on raw_score; frames strictly over it count as anomalous.

    Raises
    ------
    CalibrationError
        If there are fewer frames than alpha needs.

    """
    n = int(raw_score.shape[0])
    check_support(n, alpha)
    return float(np.sort(raw_score)[conformal_rank(n, alpha) - 1])
