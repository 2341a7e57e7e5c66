"""
Upper bounds of a rate: from counts alone, and over sequences that need not be alike.

References
----------
Garwood (1936), Fiducial limits for the Poisson distribution, Biometrika 28: the bound
``chi2(0.95; 2k + 2) / 2T``.

"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Final

import numpy as np

from ros_ood_monitor.errors import CalibrationError

__all__ = [
    'CONFIDENCE',
    'affordable_episodes',
    'bootstrap_upper_rate',
    'hours_needed',
    'poisson_upper',
    'rounded_up',
    'upper_rate',
]

CONFIDENCE: Final = 0.95
"""Of every bound that is quoted."""

_DRAWS: Final = 2000


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """
    Return the largest mean count that so few events leave possible.

    Parameters
    ----------
    count : int
        Events seen.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        ``chi2(confidence; 2 count + 2) / 2``: the mean at which ``count`` events or fewer come
        with probability ``1 - confidence``.

    Raises
    ------
    CalibrationError
        If the count is negative or the confidence outside (0, 1).

    """
    if count < 0 or not 0.0 < confidence < 1.0:
        msg = (
            f'expected a count of at least 0 and a confidence in (0, 1), got {count}, {confidence}'
        )
        raise CalibrationError(msg)
    # what is further below the count than 40 deviations adds nothing
    first = max(0, count - 40 * math.isqrt(count + 1))
    k = np.arange(first, count + 1)  # (n,)
    log_factorial = math.lgamma(first + 1) + np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    wanted = math.log1p(-confidence)

    def log_at_most(mean: float) -> float:
        terms = k * math.log(mean) - log_factorial  # (n,)
        top = float(terms.max())
        return top + math.log(float(np.exp(terms - top).sum())) - mean

    low = max(0.0, count - 30.0 * math.isqrt(count + 1))
    high = count + 10.0 * math.sqrt(count + 1.0) - math.log1p(-confidence) + 1.0
    while high - low > 1e-13 * high:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if log_at_most(middle) > wanted:
            low = middle
        else:
            high = middle
    return high


def upper_rate(episodes: int, hours: float, confidence: float = CONFIDENCE) -> float:
    """
    Return the upper bound of the rate that goes with so many episodes in so many hours.

    Parameters
    ----------
    episodes : int
        False alerts.
    hours : float
        Hours watched, over 0.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        Per hour: ``chi2(confidence; 2 episodes + 2) / (2 hours)``.

    Raises
    ------
    CalibrationError
        If there are no hours, or a value is outside its range.

    """
    if not (hours > 0.0 and math.isfinite(hours)):
        msg = f'a rate needs hours: expected more than 0, got {hours:g}'
        raise CalibrationError(msg)
    return poisson_upper(episodes, confidence) / hours


def hours_needed(per_hour: float, episodes: int = 0, confidence: float = CONFIDENCE) -> float:
    """
    Return how many hours bound a rate.

    Parameters
    ----------
    per_hour : float
        The rate, over 0.
    episodes : int, default 0
        False alerts in these hours.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        Hours in which so many episodes put the upper bound at the rate; 3.0 / rate without any.

    Raises
    ------
    CalibrationError
        If a value is outside its range.

    """
    if not (per_hour > 0.0 and math.isfinite(per_hour)):
        msg = f'a rate of false alerts must be over 0 per hour, got {per_hour:g}'
        raise CalibrationError(msg)
    return poisson_upper(episodes, confidence) / per_hour


def affordable_episodes(per_hour: float, hours: float) -> int:
    """
    Return how many false alerts in some hours still bound a rate; -1 where not even none does.

    Parameters
    ----------
    per_hour : float
        The rate, over 0.
    hours : float
        Hours watched.

    Returns
    -------
    int
        The largest k with ``upper_rate(k, hours) <= per_hour``.

    """
    if hours_needed(per_hour) > hours:
        return -1
    # as many as are expected at the rate are too many to bound it
    low, high = 0, max(1, math.ceil(per_hour * hours))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if hours_needed(per_hour, middle) <= hours else (low, middle)
    return low


def bootstrap_upper_rate(
    episodes: Sequence[int],
    hours: Sequence[float],
    *,
    seed: int,
    confidence: float = CONFIDENCE,
    draws: int = _DRAWS,
) -> float:
    """
    Return the upper bound of the rate of sequences like these, which need not be alike.

    Whole sequences are drawn with replacement, and of each draw's k episodes in T hours a rate
    that they leave possible (a gamma variate of shape k + 1, over T): quiet sequences are no proof
    of a rate of 0, which resampling alone would make them. A draw is of one sequence less than
    there are: n of n differ from each other by less than n days of a world do, which matters
    where they are few.

    Parameters
    ----------
    episodes : sequence of int
        False alerts in each sequence.
    hours : sequence of float
        Hours of each, over 0.
    seed : int
        Of the draws.
    confidence : float, default 0.95
        In (0, 1).
    draws : int, default 2000
        How many.

    Returns
    -------
    float
        Per hour; `upper_rate` where no sequence has an episode, and so none differs from another;
        NaN where there are fewer than two sequences, which tell nothing of a third.

    Raises
    ------
    CalibrationError
        If the lengths differ or a value is outside its range.

    References
    ----------
    Rao and Wu (1988), Resampling inference with complex survey data, JASA 83: n - 1 draws.

    """
    count = np.asarray(episodes, dtype=np.int64)
    time = np.asarray(hours, dtype=np.float64)
    if count.shape != time.shape or count.ndim != 1 or (count < 0).any() or not (time > 0).all():
        msg = 'expected a count of episodes and hours over 0 for every sequence'
        raise CalibrationError(msg)
    if count.size < 2:
        return math.nan
    if not count.any():
        return upper_rate(0, float(time.sum()), confidence)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count.size, (draws, count.size - 1))
    rate = rng.gamma(count[drawn].sum(axis=1) + 1.0) / time[drawn].sum(axis=1)  # (draws,)
    return float(np.quantile(rate, confidence))


def rounded_up(value: float) -> float:
    """
    Return the least number of two digits that is no smaller: advice that is accepted.

    Parameters
    ----------
    value : float
        The least rate or share that can be supported, positive.

    Returns
    -------
    float
        To be asked for.

    """
    digits = 1 - math.floor(math.log10(value))
    return float(round(math.ceil(value * 10.0**digits) / 10.0**digits, max(digits, 0)))
