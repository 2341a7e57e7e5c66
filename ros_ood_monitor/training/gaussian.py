"""
A Gaussian with a shrunk covariance: the Mahalanobis distance as a density.

References
----------
Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
Mueller, Hein (2025), Mahalanobis++, arXiv:2505.18032 (L2-normalised features).

"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf
import torch
from torch import nn

from ros_ood_monitor.training.folded import FoldedGaussian, NORMALISATION

__all__ = ['fit_gaussian', 'whitening']

_SMALLEST_VARIANCE = 1e-12
"""Added to the diagonal, so that identical frames give a (very narrow) density, not a failure."""


def whitening(
    features: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """
    Return the affine map that makes the features' Gaussian a standard normal.

    Parameters
    ----------
    features : ndarray of shape (n, D)
        Features, n at least 2; fewer than D are enough, because the covariance is shrunk.

    Returns
    -------
    weight : ndarray of shape (D, D), float64
        Inverse of the covariance's Cholesky root.
    bias : ndarray of shape (D,), float64
        Minus the weight times the mean.
    log_det : float
        Logarithm of the weight's determinant.

    """
    values = features.astype(np.float64)
    mean = values.mean(axis=0)  # (D,)
    covariance, _ = ledoit_wolf(values - mean, assume_centered=True)  # (D, D)
    root = np.linalg.cholesky(covariance + _SMALLEST_VARIANCE * np.eye(len(mean)))  # (D, D)
    weight = np.tril(np.linalg.inv(root))  # (D, D), lower
    return weight, -weight @ mean, -float(np.log(np.diag(root)).sum())


def fit_gaussian(features: npt.NDArray[np.float32]) -> FoldedGaussian:
    """
    Fit mean and Ledoit-Wolf covariance.

    Parameters
    ----------
    features : ndarray of shape (n, D), float32
        Features, n at least 2.

    Returns
    -------
    FoldedGaussian
        In float64.

    """
    weight, bias, log_det = whitening(features)
    linear = nn.Linear(len(bias), len(bias), dtype=torch.float64)
    linear.weight = nn.Parameter(torch.from_numpy(weight))
    linear.bias = nn.Parameter(torch.from_numpy(bias))
    return FoldedGaussian(linear.requires_grad_(False), len(bias) * NORMALISATION - log_det)
