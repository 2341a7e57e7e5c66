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
import torch
from torch import nn

from ros_ood_monitor.training.detectors.folded import FoldedGaussian, NORMALISATION
from ros_ood_monitor.training.rows import check_count, check_finite, chunks, Rows

__all__ = ['SMALLEST_VARIANCE', 'Gaussian', 'Moments', 'estimate', 'fit_gaussian', 'moments']

_Array: TypeAlias = npt.NDArray[np.float64]

SMALLEST_VARIANCE = 1e-12
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


@dataclass(frozen=True, eq=False)
class Moments:
    """
    Sums over features, as many rows as there may be.

    Parameters
    ----------
    count : int
        Rows n.
    mean : ndarray of shape (D,), float64
        Of the rows.
    covariance : ndarray of shape (D, D), float64
        Of the sample, divided by n.
    squares : float
        Sum over rows of their squared distance to the mean, squared.

    """

    count: int
    mean: _Array
    covariance: _Array
    squares: float


def moments(features: Rows) -> Moments:
    """
    Add up features.

    Two passes over the rows, a chunk at a time: one for the mean, one for the sums that the
    covariance and its shrinkage need. ``sum_ij (X^T X)_ij`` of squared entries, which the formula
    asks for, is the sum over rows of their squared norm squared, so no second matrix is needed.

    Parameters
    ----------
    features : Rows
        Features to fit to, (n, D) with n at least 2.

    Returns
    -------
    Moments
        The sums.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    count = check_count(features)
    mean: _Array = sum(
        (chunk.astype(np.float64).sum(axis=0) for chunk in chunks(features)), np.zeros(())
    )
    mean = mean / count  # (D,)
    check_finite(mean)
    scatter = np.zeros((len(mean), len(mean)))
    squares = 0.0
    for chunk in chunks(features):
        centred = chunk.astype(np.float64) - mean  # (k, D)
        scatter += centred.T @ centred
        squares += float(np.square(np.square(centred).sum(axis=1)).sum())
    return Moments(count, mean, scatter / count, squares)


def estimate(features: Rows) -> Gaussian:
    """
    Estimate mean and covariance.

    Parameters
    ----------
    features : Rows
        Features to fit to, (n, D) with n at least 2; fewer than D are enough.

    Returns
    -------
    Gaussian
        The estimate.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    sums = moments(features)
    sample, width = sums.covariance, len(sums.mean)
    shrinkage = _shrinkage(sample, sums.squares, sums.count)
    covariance = (1.0 - shrinkage) * sample
    covariance.flat[:: width + 1] += shrinkage * float(np.trace(sample)) / width
    covariance.flat[:: width + 1] += SMALLEST_VARIANCE
    return Gaussian(sums.mean, covariance, shrinkage)


def _shrinkage(sample: _Array, squares: float, count: int) -> float:
    """Return Ledoit and Wolf's shrinkage towards a multiple of the identity, in [0, 1]."""
    width = len(sample)
    norm = float(np.square(sample).sum())
    dispersion = norm - float(np.trace(sample)) ** 2 / width  # of the eigenvalues
    noise = (squares / count - norm) / count  # of the sample covariance's entries
    # features of one dimension, or with nothing to tell apart, need none
    return min(noise, dispersion) / dispersion if min(noise, dispersion) > 0.0 else 0.0


def fit_gaussian(features: Rows) -> tuple[FoldedGaussian, Gaussian]:
    """
    Fit a Gaussian and return it as the density that the scorer holds.

    Parameters
    ----------
    features : Rows
        Features to fit to, (n, D).

    Returns
    -------
    tuple of FoldedGaussian and Gaussian
        The density in float64, and what it was made of.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    gaussian = estimate(features)
    weight, bias, log_det = gaussian.whitening()
    linear = nn.Linear(len(bias), len(bias), dtype=torch.float64)
    linear.weight = nn.Parameter(torch.from_numpy(weight))
    linear.bias = nn.Parameter(torch.from_numpy(bias))
    constant = len(bias) * NORMALISATION - log_det
    return FoldedGaussian(linear.requires_grad_(False), constant), gaussian
