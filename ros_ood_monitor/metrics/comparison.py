"""How surely an AUROC, or the difference of two, is known; closed-form, nothing is drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics.curves import area_under_roc
from ros_ood_monitor.metrics.scores import pair, Scores

__all__ = ['Difference', 'auroc_difference', 'auroc_error']


class Difference(NamedTuple):
    """A difference, and its standard error (infinite where there is too little to tell)."""

    value: float
    standard_error: float


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
    *,
    clusters: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Difference:
    """
    Return how much two detectors differ in `auroc` on the same pictures, and how surely.

    The pictures are paired, so what both detectors find hard cancels out. The standard error is
    closed-form: nothing is drawn. It takes pictures as independent of each other but for those of
    one cluster; frames of one video are not, and then it is too small.

    Parameters
    ----------
    id_scores, ood_scores : tuple of array_like of shape (n,) and of shape (m,)
        raw_score by the first and by the second detector, pictures in the same order.
    clusters : tuple of array_like of shape (n,) and of shape (m,), optional
        Which pictures belong together, of either class: a frame and all that was made from it.

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
    Obuchowski (1997), Nonparametric analysis of clustered ROC curve data: the sums over clusters.

    """
    pairs = [pair(*scores) for scores in zip(id_scores, ood_scores, strict=True)]
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
    value = area_under_roc(second_id, second_ood) - area_under_roc(first_id, first_ood)
    if clusters is not None:
        return Difference(value, _clustered(value, (of_id, of_ood), clusters))
    if min(of_id.size, of_ood.size) < 2:
        return Difference(value, float('inf'))
    variance = sum(float(part.var(ddof=1)) / part.size for part in (of_id, of_ood))
    return Difference(value, float(np.sqrt(variance)))


def _clustered(
    value: float, parts: tuple[Scores, Scores], clusters: tuple[npt.ArrayLike, npt.ArrayLike]
) -> float:
    """Return the standard error of a difference from what each picture adds to it."""
    both = [np.asarray(part) for part in clusters]
    names, places = np.unique(np.concatenate(both), return_inverse=True)
    if len(names) < 2:
        return float('inf')
    added = np.concatenate([(part - value) / part.size for part in parts])  # (n + m,)
    sums = np.bincount(places, weights=added)  # (clusters,)
    return float(np.sqrt(len(names) / (len(names) - 1) * np.square(sums).sum()))


def _wins(score: Scores, others: Scores) -> Scores:
    """Return, for each score, the share of the others that it exceeds; equal ones by half."""
    ascending = np.sort(others)
    below = np.searchsorted(ascending, score, side='left')
    not_above = np.searchsorted(ascending, score, side='right')
    wins: Scores = (below + not_above) / (2 * others.size)
    return wins
