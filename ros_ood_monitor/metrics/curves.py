"""Areas under curves, and points on them: each class's scores in, one number out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics.scores import checked, pair, Scores

__all__ = [
    'area_under_pr',
    'area_under_roc',
    'aupr',
    'auroc',
    'fpr95_id_positive',
    'fpr95_ood_positive',
    'share_over',
]


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
    return area_under_roc(*pair(id_score, ood_score))


def area_under_roc(id_score: Scores, ood_score: Scores) -> float:
    """Return `auroc` of scores that were checked."""
    ascending = np.sort(id_score)
    # below + not above = 2 * (wins + ties / 2), all in whole numbers
    below = np.searchsorted(ascending, ood_score, side='left')  # (m,)
    not_above = np.searchsorted(ascending, ood_score, side='right')  # (m,)
    twice = int(np.sum(below) + np.sum(not_above))
    return twice / (2 * id_score.size * ood_score.size)


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
    return area_under_pr(*pair(id_score, ood_score))


def area_under_pr(id_score: Scores, ood_score: Scores) -> float:
    """Return `aupr` of scores that were checked."""
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
    id_score, ood_score = pair(id_score, ood_score)
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
    id_score, ood_score = pair(id_score, ood_score)
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
    return float(np.mean(checked(raw_score, 'given') > threshold))
