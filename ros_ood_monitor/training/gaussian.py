"""
A Gaussian with a shrunk covariance: the Mahalanobis distance as a density.

The shrinkage is that of Ledoit and Wolf's formula, which takes frames as independent. Frames of a
video are not, and frames of held-out sequences ask for several times as much. Giving it to them
raises their likelihood and, seen on rendered sequences, *lowers* the AUROC of small foreign
objects: such an object shows in the directions in which the training frames hardly vary, and
shrinkage blunts exactly these. What helps both is more sequences.

References
----------
Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
Mueller, Hein (2025), Mahalanobis++, arXiv:2505.18032 (L2-normalised features).

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf
import torch
from torch import nn

from ros_ood_monitor.training.folded import FoldedGaussian, NORMALISATION

__all__ = ['Gaussian', 'estimate', 'fit_gaussian']

_Array: TypeAlias = npt.NDArray[np.float64]

_SMALLEST_VARIANCE = 1e-12
"""Added to the diagonal, so that identical frames give a (very narrow) density, not a failure."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """
    Mean and shrunk covariance of features.

    Parameters
    ----------
    mean : ndarray of shape (D,), float64
        Of the fit part.
    covariance : ndarray of shape (D, D), float64
        ``(1 - shrinkage) * sample + shrinkage * trace(sample) / D * identity``.
    shrinkage : float
        In [0, 1].

    """

    mean: _Array
    covariance: _Array
    shrinkage: float

    def whitening(self) -> tuple[_Array, _Array, float]:
        """
        Return the affine map that makes the Gaussian a standard normal.

        Returns
        -------
        weight : ndarray of shape (D, D), float64
            Inverse of the covariance's Cholesky root; lower triangular.
        bias : ndarray of shape (D,), float64
            Minus the weight times the mean.
        log_det : float
            Logarithm of the weight's determinant.

        """
        root = np.linalg.cholesky(self.covariance)  # (D, D), lower
        weight = np.tril(np.linalg.inv(root))  # (D, D)
        return weight, -weight @ self.mean, -float(np.log(np.diag(root)).sum())


def estimate(features: npt.NDArray[np.floating]) -> Gaussian:
    """
    Estimate mean and covariance.

    Parameters
    ----------
    features : ndarray of shape (n, D)
        Features to fit to, n at least 2; fewer than D are enough.

    Returns
    -------
    Gaussian
        The estimate.

    """
    values = features.astype(np.float64)
    mean = values.mean(axis=0)  # (D,)
    covariance, shrinkage = ledoit_wolf(values - mean, assume_centered=True)  # (D, D), ()
    covariance = covariance + _SMALLEST_VARIANCE * np.eye(len(mean))
    return Gaussian(mean, covariance, float(shrinkage))


def fit_gaussian(features: npt.NDArray[np.floating]) -> tuple[FoldedGaussian, Gaussian]:
    """
    Fit a Gaussian and return it as the density that the scorer holds.

    Parameters
    ----------
    features : ndarray of shape (n, D)
        Features to fit to.

    Returns
    -------
    tuple of FoldedGaussian and Gaussian
        The density in float64, and what it was made of.

    """
    gaussian = estimate(features)
    weight, bias, log_det = gaussian.whitening()
    linear = nn.Linear(len(bias), len(bias), dtype=torch.float64)
    linear.weight = nn.Parameter(torch.from_numpy(weight))
    linear.bias = nn.Parameter(torch.from_numpy(bias))
    constant = len(bias) * NORMALISATION - log_det
    return FoldedGaussian(linear.requires_grad_(False), constant), gaussian
