"""
Principal components of features: the part that `ppca` and `pca_residual` share.

As many components are kept as hold 95 % of the variance of the fit part. A direction outside of
them, in which the training frames hardly vary, is where the residual is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.gaussian import moments, SMALLEST_VARIANCE
from ros_ood_monitor.training.rows import Rows

__all__ = ['SHARE', 'Components', 'Plane', 'principal_components']

SHARE: Final = 0.95
"""Of the variance that the components hold."""


@dataclass(frozen=True, eq=False)
class Components:
    """
    The leading eigenvectors of a covariance.

    Parameters
    ----------
    mean : ndarray of shape (D,), float64
        Of the features.
    directions : ndarray of shape (q, D), float64
        Orthonormal, by falling variance; q in [1, D).
    variances : ndarray of shape (q,), float64
        Of the features along them.
    rest : float
        Mean variance of the other D - q directions.

    """

    mean: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]
    rest: float


def principal_components(
    features: Rows,
    *,
    share: float = SHARE,
    most: int | None = None,
    around: npt.NDArray[np.float64] | None = None,
) -> Components:
    """
    Return as many principal components as hold a share of the variance, all but one at most.

    Parameters
    ----------
    features : Rows
        Features, (n, D) with n and D at least 2.
    share : float, default 0.95
        Of the variance that the components hold.
    most : int, optional
        Components at most.
    around : ndarray of shape (D,), float64, optional
        What variances are measured from; the mean of the features by default.

    Returns
    -------
    Components
        Every variance is 1e-12 larger than the sample's, so that none is 0.

    Raises
    ------
    TrainingError
        If there are fewer than two rows or columns, or a feature is not finite.

    """
    sums = moments(features)
    width = len(sums.mean)
    if width < 2:
        msg = (
            f'principal components need at least 2 channels, got {width}; '
            'take another density or tap'
        )
        raise TrainingError(msg)
    centre, covariance = sums.mean, sums.covariance
    if around is not None:
        centre, off = around, sums.mean - around
        covariance = covariance + np.outer(off, off)
    variances, vectors = np.linalg.eigh(covariance)  # ascending
    variances = np.maximum(variances[::-1], 0.0) + SMALLEST_VARIANCE  # (D,)
    held = np.cumsum(variances) / variances.sum()
    kept = min(int(np.searchsorted(held, share)) + 1, width - 1, most or width)
    directions = vectors[:, ::-1].T[:kept]  # (q, D)
    # an eigenvector has no sign: the largest entry gets the positive one
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(kept), largest])[:, np.newaxis]
    return Components(centre, directions, variances[:kept], float(variances[kept:].mean()))


class Plane(nn.Module):
    """
    Features as coordinates in the plane of the components, and what is left outside of it.

    Parameters
    ----------
    components : Components
        The plane.

    """

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.register_buffer('mean', torch.from_numpy(components.mean))
        self.register_buffer(
            'directions', torch.from_numpy(np.ascontiguousarray(components.directions))
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coordinates (N, q), and the squared length outside of the plane (N,)."""
        directions = self.get_buffer('directions')
        centred = features - self.get_buffer('mean')  # (N, D)
        inside = centred @ directions.T  # (N, q)
        # the vector itself: a difference of squared lengths would lose all digits in float32
        outside = centred - inside @ directions  # (N, D)
        return inside, outside.square().sum(dim=1)
