"""Confidence intervals by drawing pictures anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics.curves import area_under_pr, area_under_roc
from ros_ood_monitor.metrics.scores import pair, Scores

__all__ = ['Interval', 'aupr_interval', 'auroc_interval', 'check_bootstrap', 'middle']


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


def auroc_interval(
    id_score: npt.ArrayLike,
    ood_score: npt.ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """
    Return a bootstrap confidence interval of `auroc`.

    Both classes are drawn anew with replacement, each at its own size; the interval runs between
    the quantiles of the redrawn values. It takes the pictures as independent: frames of one video
    are not, and then it is too narrow. Where the classes do not overlap at all it has width zero,
    which says that more data is needed to see a difference, not that there is none.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.
    seed : int
        Seed of the drawing.
    confidence : float, default 0.95
        Share of redrawn values inside the interval, in (0, 1).
    resamples : int, default 1000
        How often both classes are drawn.

    Returns
    -------
    Interval
        ``low`` and ``high``, both in [0, 1].

    Raises
    ------
    ParameterError
        If a class is empty, a score is not finite, or an option is outside its range.

    References
    ----------
    Efron, Tibshirani (1993), An introduction to the bootstrap, chapter 13.

    """
    return _interval(area_under_roc, pair(id_score, ood_score), seed, confidence, resamples)


def aupr_interval(
    id_score: npt.ArrayLike,
    ood_score: npt.ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """
    Return a bootstrap confidence interval of `aupr`; see `auroc_interval`.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.
    seed : int
        Seed of the drawing.
    confidence : float, default 0.95
        Share of redrawn values inside the interval, in (0, 1).
    resamples : int, default 1000
        How often both classes are drawn.

    Returns
    -------
    Interval
        ``low`` and ``high``, both in [0, 1].

    Raises
    ------
    ParameterError
        If a class is empty, a score is not finite, or an option is outside its range.

    """
    return _interval(area_under_pr, pair(id_score, ood_score), seed, confidence, resamples)


def check_bootstrap(confidence: float, resamples: int) -> None:
    """
    Refuse options that no bootstrap interval can be drawn with.

    Parameters
    ----------
    confidence : float
        Share of redrawn values inside the interval, in (0, 1).
    resamples : int
        How often is drawn, at least 1.

    Raises
    ------
    ParameterError
        If one is outside its range.

    """
    if not 0.0 < confidence < 1.0 or resamples < 1:
        msg = (
            'bootstrap needs a confidence in (0, 1) and at least one resample, '
            f'got {confidence:g} and {resamples}'
        )
        raise ParameterError(msg)


def middle(drawn: Scores, confidence: float) -> Interval:
    """
    Return the interval between the quantiles of redrawn values.

    Parameters
    ----------
    drawn : ndarray of shape (n,), float64
        A metric of every resample.
    confidence : float
        Share of them inside the interval, in (0, 1).

    Returns
    -------
    Interval
        ``low`` and ``high``.

    """
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def _interval(
    metric: Callable[[Scores, Scores], float],
    scores: tuple[Scores, Scores],
    seed: int,
    confidence: float,
    resamples: int,
) -> Interval:
    check_bootstrap(confidence, resamples)
    id_score, ood_score = scores
    rng = np.random.default_rng(seed)
    drawn = [
        metric(rng.choice(id_score, id_score.size), rng.choice(ood_score, ood_score.size))
        for _ in range(resamples)
    ]
    return middle(np.array(drawn), confidence)
