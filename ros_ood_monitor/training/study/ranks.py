"""
Does the geometry of a tap's features go with what detectors reach on it: rank correlations.

They describe the points of one study and no more. Taps of one backbone are not independent of
each other, every tap sees the same pictures, and depth moves everything at once; so no
significance is computed, and the correlations inside each backbone, and over the penultimate taps
alone, stand beside the one over all points.

References
----------
Spearman (1904), The proof and measurement of association between two things.

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.study.detectors import DETECTORS
from ros_ood_monitor.training.study.study import Point

__all__ = ['FEWEST', 'MEASURES', 'RankCorrelation', 'correlate', 'spearman']

MEASURES = ('tolerance', 'uniformity')
"""What is correlated with AUROC."""

FEWEST = 5
"""Points under which no correlation is given: four agree wholly by chance once in 24 times."""


@dataclass(frozen=True)
class RankCorrelation:
    """
    A rank correlation with the mean AUROC.

    Parameters
    ----------
    measure, detector, ood : str
        What was correlated with the AUROC of which detector against which folder.
    points : str
        ``all``, ``penultimate`` (the last tap of each backbone), or the name of a backbone.
    count : int
        Number of points.
    rho : float or None
        In [-1, 1]; None with fewer than five points, or where one side is constant.

    """

    measure: str
    detector: str
    ood: str
    points: str
    count: int
    rho: float | None


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """
    Return Spearman's rank correlation; equal values share their mean rank.

    Parameters
    ----------
    first, second : array_like of shape (n,)
        Pairs of values.

    Returns
    -------
    float or None
        In [-1, 1]; None with fewer than five pairs, or where one side is constant.

    """
    ranks = np.stack([_ranks(np.asarray(side, np.float64)) for side in (first, second)])  # (2, n)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    scale = float(np.sqrt(np.prod(np.square(centred).sum(axis=1))))
    if ranks.shape[1] < FEWEST or scale == 0.0:
        return None
    return float(np.clip(centred[0] @ centred[1] / scale, -1.0, 1.0))


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side='left')
    not_above = np.searchsorted(ordered, values, side='right')
    return (below + not_above) / 2.0


def correlate(points: Sequence[Point]) -> list[RankCorrelation]:
    """
    Correlate tolerance and uniformity with AUROC.

    Parameters
    ----------
    points : sequence of Point
        All of one study, at least one.

    Returns
    -------
    list of RankCorrelation
        For each measure, detector, OOD folder and group of points.

    """
    groups = {'all': list(points), 'penultimate': [point for point in points if point.deepest]}
    for point in points:
        groups.setdefault(f'backbone {point.backbone}', []).append(point)
    return [
        _correlation(measure, detector, ood, name, group)
        for measure in MEASURES
        for detector in DETECTORS
        for ood in points[0].separation[detector]
        for name, group in groups.items()
    ]


def _correlation(
    measure: str, detector: str, ood: str, name: str, group: Sequence[Point]
) -> RankCorrelation:
    values = [getattr(point, measure) for point in group]
    reached = [float(np.mean(point.separation[detector][ood].auroc)) for point in group]
    unknown = any(value is None for value in values)
    rho = None if unknown or not group else spearman(values, reached)
    return RankCorrelation(measure, detector, ood, name.removeprefix('backbone '), len(group), rho)
