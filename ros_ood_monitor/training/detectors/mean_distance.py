"""
The distance to the mean: what a flow that starts as published computes before it is trained.

On features of unit length it is, up to a monotone map, one minus the cosine to the mean.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ros_ood_monitor.training.detectors.fitted import distance_deviation, Fitted
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.detectors.gaussian import moments
from ros_ood_monitor.training.rows import Rows

__all__ = ['MeanDistance', 'fit']


class MeanDistance(Detector):
    """
    Euclidean distance to a point.

    Parameters
    ----------
    mean : ndarray of shape (D,), float64
        The point.
    deviation : float
        What distances vary by; see `Detector`.

    """

    def __init__(self, mean: npt.NDArray[np.float64], deviation: float) -> None:
        super().__init__(0.0, deviation)
        self.register_buffer('mean', torch.from_numpy(mean))

    def energy(self, features: Tensor) -> Tensor:
        """Return the distance; see `Detector.energy`."""
        return (features - self.get_buffer('mean')).square().sum(dim=1).sqrt()  # (N,)


def fit(features: Rows) -> Fitted:
    """
    Take the mean.

    Parameters
    ----------
    features : Rows
        Normalised features, (n, D).

    Returns
    -------
    Fitted
        Without facts.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    sums = moments(features)
    variance = float(np.trace(sums.covariance)) / len(sums.mean)
    return Fitted(MeanDistance(sums.mean, distance_deviation(variance)))
