"""
A flow in the plane of the leading components, and a Gaussian outside of it.

The cells of a map share one small flow. It works on at most 128 whitened components; what lies
outside of their plane counts as one more Gaussian term, with one variance in all of its
directions. Together they are a density of the features themselves, and before any training that of
`ppca` with so many components. An adaptor without the residual would be blind where strange
pictures show: in directions in which the training frames hardly vary.

References
----------
PatchFlow (2026), arXiv:2602.05238 (an adaptor to 128 channels and few couplings for all places).
Tipping, Bishop (1999), Probabilistic principal component analysis, eq. 8 (the variance outside).

"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn, Tensor

from ros_ood_monitor.training.detectors.components import (
    Components,
    Plane,
    principal_components,
)
from ros_ood_monitor.training.detectors.folded import Density, FoldedFlow, NORMALISATION
from ros_ood_monitor.training.rows import Rows

__all__ = ['MOST_COMPONENTS', 'Adaptor', 'PatchFlow']

MOST_COMPONENTS: Final = 128


class Adaptor(nn.Module):
    """
    Features as whitened coordinates in a plane, and what is left outside of it.

    Parameters
    ----------
    components : Components
        That span it.

    """

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.kept, self.width = components.directions.shape
        self.rest_precision = 1.0 / components.rest
        self.log_det = -0.5 * float(np.log(components.variances).sum())
        self.log_det -= 0.5 * (self.width - self.kept) * float(np.log(components.rest))
        self.plane = Plane(components)
        self.register_buffer('scales', torch.from_numpy(1.0 / np.sqrt(components.variances)))

    @classmethod
    def fit(cls, features: Rows) -> Adaptor:
        """
        Fit to features, by the eigenvectors of their covariance.

        It is not shrunk: cells are many, and shrinkage blunts what lies outside of the plane.

        Parameters
        ----------
        features : Rows
            Normalised features, (n, D).

        Returns
        -------
        Adaptor
            In float64.

        Raises
        ------
        TrainingError
            If there are fewer than two rows or columns, or a feature is not finite.

        """
        return cls(principal_components(features, most=MOST_COMPONENTS, share=1.0))

    def inside(self, features: Tensor) -> Tensor:
        """Return the whitened coordinates (N, q)."""
        coordinates: Tensor = self.plane(features)[0]
        return coordinates * self.get_buffer('scales')

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the whitened coordinates (N, q), and the residual's energy (N,)."""
        coordinates, outside = self.plane(features)  # (N, q), (N,)
        return coordinates * self.get_buffer('scales'), 0.5 * self.rest_precision * outside


class PatchFlow(Density):
    """
    The density: a flow in the plane, a Gaussian outside of it.

    Parameters
    ----------
    adaptor : Adaptor
        In float64.
    flow : FoldedFlow
        Of whitened coordinates.

    """

    def __init__(self, adaptor: Adaptor, flow: FoldedFlow) -> None:
        outside = adaptor.width - adaptor.kept
        constant = flow.constant + outside * NORMALISATION - adaptor.log_det
        super().__init__(constant, adaptor.width)
        self.adaptor = adaptor
        self.flow = flow

    def energy(self, features: Tensor) -> Tensor:
        """Return the flow's energy plus that of the residual; see `Detector.energy`."""
        latent, residual = self.adaptor(features)
        energy: Tensor = self.flow.energy(latent) + residual
        return energy
