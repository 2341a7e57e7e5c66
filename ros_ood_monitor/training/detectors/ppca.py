"""
Probabilistic principal components: a Gaussian with few variances of its own.

References
----------
Tipping, Bishop (1999), Probabilistic principal component analysis, eq. 8 (the maximum-likelihood
variance outside of the components is the mean of the eigenvalues left out).

"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ros_ood_monitor.training.detectors.components import (
    Components,
    Plane,
    principal_components,
)
from ros_ood_monitor.training.detectors.fitted import Fitted
from ros_ood_monitor.training.detectors.folded import Density, NORMALISATION
from ros_ood_monitor.training.rows import Rows

__all__ = ['Ppca', 'fit']


class Ppca(Density):
    """
    A Gaussian of q components, and one variance in all other directions.

    Parameters
    ----------
    components : Components
        What it is made of.

    """

    def __init__(self, components: Components) -> None:
        kept, width = components.directions.shape
        log_det = float(np.log(components.variances).sum())
        log_det += (width - kept) * float(np.log(components.rest))
        super().__init__(width * NORMALISATION + 0.5 * log_det, width)
        self.plane = Plane(components)
        self.register_buffer('precisions', torch.from_numpy(1.0 / components.variances))
        self.rest_precision = 1.0 / components.rest

    def energy(self, features: Tensor) -> Tensor:
        """Return half the squared Mahalanobis distance; see `Detector.energy`."""
        inside, outside = self.plane(features)  # (N, q), (N,)
        squared = (inside.square() * self.get_buffer('precisions')).sum(dim=1)
        total: Tensor = 0.5 * (squared + outside * self.rest_precision)
        return total


def fit(features: Rows) -> Fitted:
    """
    Fit by maximum likelihood, with as many components as hold 95 % of the variance.

    Parameters
    ----------
    features : Rows
        Normalised features, (n, D).

    Returns
    -------
    Fitted
        With the number of components.

    Raises
    ------
    TrainingError
        If there are fewer than two rows or columns, or a feature is not finite.

    """
    components = principal_components(features)
    return Fitted(Ppca(components), {'components': len(components.directions)})
