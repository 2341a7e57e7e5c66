"""
The mean distance to the five nearest of some training frames.

The frames that are kept, the coreset, are chosen greedily: each is the one farthest from all
before it, so that few of them cover all. A quarter of the frames are kept, 1024 at most, and at
most what fits into 4 MiB of float32; of more than 8192 frames an even sample is looked at: the
more are, the more of what is chosen is rare. Time and memory of both fit and score are bounded by
that, whatever is trained on. A size that is asked for is taken as it is.

References
----------
Sun, Ming, Zhu, Li (2022), Out-of-distribution detection with deep nearest neighbors,
arXiv:2204.06507 (on features of unit length).
Roth et al. (2022), Towards total recall in industrial anomaly detection, arXiv:2106.08265 (the
coreset, at most a quarter of the features there, too).
Sener, Savarese (2018), Active learning for convolutional neural networks: a core-set approach,
arXiv:1708.00489 (the greedy choice, at most twice as far as the best one).

"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ros_ood_monitor.training.detectors.fitted import distance_deviation, Fitted
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.rows import check_count, check_finite, Rows, spread

__all__ = ['Knn', 'fit', 'greedy_coreset']

_Array: TypeAlias = npt.NDArray[np.float64]

_NEIGHBOURS: Final = 5
_SHARE: Final = 4  # one in so many frames
_MOST_KEPT: Final = 1024
_MOST_BYTES: Final = 4 * 2**20
_MOST_SEEN: Final = 8192
_SEEN_OF_EACH: Final = 2  # times a size that was asked for


class Knn(Detector):
    """
    Mean Euclidean distance to the nearest of some points.

    Parameters
    ----------
    points : ndarray of shape (m, D), float64
        The coreset.
    neighbours : int
        How many of them count, in [1, m].
    deviation : float
        What distances vary by; see `Detector`.

    """

    def __init__(self, points: _Array, neighbours: int, deviation: float) -> None:
        super().__init__(0.0, deviation)
        self.neighbours = neighbours
        # around their mean the squared lengths are small, and differences keep their digits
        mean = points.mean(axis=0)  # (D,)
        centred = points - mean  # (m, D)
        self.register_buffer('mean', torch.from_numpy(mean))
        self.register_buffer('points', torch.from_numpy(-2.0 * centred.T.copy()))  # (D, m)
        self.register_buffer('lengths', torch.from_numpy(np.square(centred).sum(axis=1)))  # (m,)

    def energy(self, features: Tensor) -> Tensor:
        """Return the mean distance; see `Detector.energy`."""
        centred = features - self.get_buffer('mean')  # (N, D)
        # |x - p|^2 = |x|^2 - 2 x p + |p|^2: one matrix product, no (N, m, D)
        squared = centred @ self.get_buffer('points') + self.get_buffer('lengths')  # (N, m)
        nearest = squared.topk(self.neighbours, dim=1, largest=False).values  # (N, k)
        nearest = nearest + centred.square().sum(dim=1, keepdim=True)
        return nearest.clamp_min(0.0).sqrt().mean(dim=1)  # (N,)


def greedy_coreset(features: _Array, size: int) -> npt.NDArray[np.int64]:
    """
    Choose rows that cover all: the most typical one, then ever the farthest from those chosen.

    Parameters
    ----------
    features : ndarray of shape (n, D), float64
        Rows to choose from.
    size : int
        How many, in [1, n].

    Returns
    -------
    ndarray of shape (size,), int64
        In the order of the choice. Rows that equal a chosen one come last, each once.

    """
    lengths = np.square(features).sum(axis=1)  # (n,)

    def squared_distance(row: int) -> _Array:
        distance: _Array = lengths - 2.0 * (features @ features[row]) + lengths[row]  # (n,)
        return distance

    centre = features.mean(axis=0)
    chosen = [int((lengths - 2.0 * (features @ centre)).argmin())]
    nearest = np.full(len(features), np.inf)
    while len(chosen) < size:
        nearest = np.minimum(nearest, squared_distance(chosen[-1]))
        nearest[chosen[-1]] = -np.inf  # never again, though rounding may leave a rest
        chosen.append(int(nearest.argmax()))
    return np.array(chosen, dtype=np.int64)


def fit(features: Rows, size: int | None = None) -> Fitted:
    """
    Choose the coreset.

    Parameters
    ----------
    features : Rows
        Normalised features, (n, D).
    size : int, optional
        Of the coreset, where there are as many rows; see the module where it is not given.

    Returns
    -------
    Fitted
        With the size of the coreset, and what it takes in the scorer, in MiB.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    check_count(features)
    most_seen = max(_MOST_SEEN, _SEEN_OF_EACH * (size or 0))
    seen = features[spread(len(features), most_seen)].astype(np.float64)  # (k, D)
    check_finite(seen)
    width = seen.shape[1]
    least = min(_NEIGHBOURS, len(seen))
    if size is None:
        most = min(_MOST_KEPT, _MOST_BYTES // (4 * width), math.ceil(len(seen) / _SHARE))
    else:
        most = min(size, len(seen))
    points = seen[greedy_coreset(seen, max(least, most))]  # (m, D)
    # with few points in many dimensions these distances are about as long as those to the mean
    deviation = distance_deviation(float(seen.var(axis=0).mean()))
    knn = Knn(points, min(_NEIGHBOURS, len(points)), deviation)
    facts = {'coreset': len(points), 'mib': round(4 * points.size / 2**20, 3)}
    return Fitted(knn, facts)
