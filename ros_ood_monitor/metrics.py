"""
How well raw_score tells out-of-distribution pictures from in-distribution ones.

Out-of-distribution (OOD) is the positive class and a higher raw_score is the more anomalous one,
always: nothing is fitted and no sign is chosen, so a detector that is the wrong way round gets an
AUROC under 0.5. Equal scores count as what they are, neither order nor luck.

"FPR95" is two numbers in the literature, and they are not the same:

==================== ================================== ==================================
function             held fixed                         reported
==================== ================================== ==================================
`fpr95_id_positive`  95 % of in-distribution accepted   share of OOD accepted (missed)
`fpr95_ood_positive` 95 % of OOD flagged                share of in-distribution flagged
==================== ================================== ==================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError

__all__ = [
    'Difference',
    'Interval',
    'aupr',
    'aupr_interval',
    'auroc',
    'auroc_difference',
    'auroc_error',
    'auroc_interval',
    'check_bootstrap',
    'fpr95_id_positive',
    'fpr95_ood_positive',
    'middle',
    'share_over',
]

Scores = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference, and its standard error (infinite where there is too little to tell)."""

    value: float
    standard_error: float


def _checked(raw_score: npt.ArrayLike, what: str) -> Scores:
    scores = np.asarray(raw_score, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        msg = f'{what} scores must have shape (n,) with n at least 1, got {scores.shape}'
        raise ParameterError(msg)
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        msg = f'{what} scores must be finite, got {bad} of {scores.size} that are not'
        raise ParameterError(msg)
    return scores


def _pair(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> tuple[Scores, Scores]:
    return _checked(id_score, 'in-distribution'), _checked(ood_score, 'out-of-distribution')


def auroc(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> float:
    """
    Return the area under the ROC curve, OOD positive.

    It is the probability that an OOD picture scores higher than an in-distribution one, with half
    a point for equal scores.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance, less is a detector that is the wrong way round.

    Raises
    ------
    ParameterError
        If a class is empty or a score is not finite.

    References
    ----------
    Hanley, McNeil (1982), The meaning and use of the area under a receiver operating
    characteristic (ROC) curve.

    """
    return _auroc(*_pair(id_score, ood_score))


def _auroc(id_score: Scores, ood_score: Scores) -> float:
    ascending = np.sort(id_score)
    # below + not above = 2 * (wins + ties / 2), all in whole numbers
    below = np.searchsorted(ascending, ood_score, side='left')  # (m,)
    not_above = np.searchsorted(ascending, ood_score, side='right')  # (m,)
    twice = int(np.sum(below) + np.sum(not_above))
    return twice / (2 * id_score.size * ood_score.size)


def auroc_error(area: float, id_count: int, ood_count: int) -> float:
    """
    Return the standard error of an AUROC of which the scores themselves are not at hand.

    It takes the pictures as independent; frames of one video are not, and then it is too small.

    Parameters
    ----------
    area : float
        AUROC, in [0, 1].
    id_count, ood_count : int
        Pictures of either class.

    Returns
    -------
    float
        Infinite where a class is empty; 0 at an area of 0 or 1, where only more pictures tell.

    References
    ----------
    Hanley, McNeil (1982), The meaning and use of the area under a receiver operating
    characteristic (ROC) curve, equation 1.

    """
    if min(id_count, ood_count) < 1:
        return float('inf')
    one_id = area / (2.0 - area) - area**2
    one_ood = 2.0 * area**2 / (1.0 + area) - area**2
    variance = area * (1.0 - area) + (ood_count - 1) * one_id + (id_count - 1) * one_ood
    return float(np.sqrt(max(variance, 0.0) / (id_count * ood_count)))


def auroc_difference(
    id_scores: tuple[npt.ArrayLike, npt.ArrayLike],
    ood_scores: tuple[npt.ArrayLike, npt.ArrayLike],
) -> Difference:
    """
    Return how much two detectors differ in `auroc` on the same pictures, and how surely.

    The pictures are paired, so what both detectors find hard cancels out. The standard error is
    closed-form: nothing is drawn. It takes pictures as independent of each other; frames of one
    video are not, and then it is too small.

    Parameters
    ----------
    id_scores, ood_scores : tuple of array_like of shape (n,) and of shape (m,)
        raw_score by the first and by the second detector, pictures in the same order.

    Returns
    -------
    Difference
        AUROC of the second less that of the first.

    Raises
    ------
    ParameterError
        If a class is empty or not the same pictures, or a score is not finite.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson (1988), Comparing the areas under two or more correlated
    receiver operating characteristic curves: a nonparametric approach.

    """
    pairs = [_pair(*scores) for scores in zip(id_scores, ood_scores, strict=True)]
    (first_id, first_ood), (second_id, second_ood) = pairs
    if first_id.size != second_id.size or first_ood.size != second_ood.size:
        msg = (
            f'paired scores must be of the same pictures, got {first_id.size} and '
            f'{second_id.size} in-distribution, {first_ood.size} and {second_ood.size} other ones'
        )
        raise ParameterError(msg)
    of_id, of_ood = (
        _wins(-second_id, -second_ood) - _wins(-first_id, -first_ood),  # (n,)
        _wins(second_ood, second_id) - _wins(first_ood, first_id),  # (m,)
    )
    value = _auroc(second_id, second_ood) - _auroc(first_id, first_ood)
    if min(of_id.size, of_ood.size) < 2:
        return Difference(value, float('inf'))
    variance = sum(float(part.var(ddof=1)) / part.size for part in (of_id, of_ood))
    return Difference(value, float(np.sqrt(variance)))


def _wins(score: Scores, others: Scores) -> Scores:
    """Return, for each score, the share of the others that it exceeds; equal ones by half."""
    ascending = np.sort(others)
    below = np.searchsorted(ascending, score, side='left')
    not_above = np.searchsorted(ascending, score, side='right')
    wins: Scores = (below + not_above) / (2 * others.size)
    return wins


def aupr(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> float:
    """
    Return the area under the precision-recall curve, OOD positive.

    The curve is summed in steps (average precision): a straight line between two of its points
    would promise what no threshold reaches. Chance is the share of OOD among all scores, so values
    of sets with different shares do not compare.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ParameterError
        If a class is empty or a score is not finite.

    References
    ----------
    Davis, Goadrich (2006), The relationship between precision-recall and ROC curves.

    """
    return _aupr(*_pair(id_score, ood_score))


def _aupr(id_score: Scores, ood_score: Scores) -> float:
    threshold = np.unique(ood_score)  # (t,), ascending; recall only moves at an OOD score
    found = ood_score.size - np.searchsorted(np.sort(ood_score), threshold, side='left')  # (t,)
    false = id_score.size - np.searchsorted(np.sort(id_score), threshold, side='left')  # (t,)
    gained = found - np.append(found[1:], 0)  # (t,)
    # divided last: whole numbers add up to exactly 1 where the classes are wholly apart
    return float(np.sum(gained * (found / (found + false)))) / ood_score.size


def fpr95_id_positive(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> float:
    """
    Return the share of OOD that is accepted when 95 % of in-distribution is accepted.

    The threshold is the lowest score at or under which lie at least 95 % of the in-distribution
    ones; what equals it is accepted. This is the headline of this package.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.

    Returns
    -------
    float
        In [0, 1]; lower is better, chance is 0.95.

    Raises
    ------
    ParameterError
        If a class is empty or a score is not finite.

    References
    ----------
    Zhu et al. (2023), Unleashing mask, arXiv:2306.03715, whose code takes in-distribution as the
    positive class.

    """
    id_score, ood_score = _pair(id_score, ood_score)
    enough = -(-95 * id_score.size // 100)  # ceil(0.95 n) in whole numbers
    threshold = np.sort(id_score)[enough - 1]
    return float(np.mean(ood_score <= threshold))


def fpr95_ood_positive(id_score: npt.ArrayLike, ood_score: npt.ArrayLike) -> float:
    """
    Return the share of in-distribution that is flagged when 95 % of OOD is flagged.

    The threshold is the highest score at or over which lie at least 95 % of the OOD ones; what
    equals it is flagged.

    Parameters
    ----------
    id_score, ood_score : array_like of shape (n,) and (m,)
        raw_score of either class.

    Returns
    -------
    float
        In [0, 1]; lower is better, chance is 0.95.

    Raises
    ------
    ParameterError
        If a class is empty or a score is not finite.

    References
    ----------
    Zhang et al. (2023), OpenOOD v1.5, arXiv:2306.09301.

    """
    id_score, ood_score = _pair(id_score, ood_score)
    return fpr95_id_positive(-ood_score, -id_score)


def share_over(raw_score: npt.ArrayLike, threshold: float) -> float:
    """
    Return the share of scores strictly over a threshold, as the alert logic counts them.

    Parameters
    ----------
    raw_score : array_like of shape (n,)
        Scores of one class.
    threshold : float
        Threshold on raw_score.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ParameterError
        If there is no score or one is not finite.

    """
    return float(np.mean(_checked(raw_score, 'given') > threshold))


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
    return _interval(_auroc, _pair(id_score, ood_score), seed, confidence, resamples)


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
    return _interval(_aupr, _pair(id_score, ood_score), seed, confidence, resamples)


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
    pair: tuple[Scores, Scores],
    seed: int,
    confidence: float,
    resamples: int,
) -> Interval:
    check_bootstrap(confidence, resamples)
    id_score, ood_score = pair
    rng = np.random.default_rng(seed)
    drawn = [
        metric(rng.choice(id_score, id_score.size), rng.choice(ood_score, ood_score.size))
        for _ in range(resamples)
    ]
    return middle(np.array(drawn), confidence)
