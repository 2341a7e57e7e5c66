"""
Densities as the robot runs them: plain affine maps and elementwise functions, nothing else.

A `Density` splits its nll into ``energy(x) + constant``. The constant is kept apart because it is
large (thousands of nats) beside the differences that matter: whoever standardises the nll can fold
it in float64 instead of losing digits to it in float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

from ros_ood_monitor.training.folded_steps import FoldedCoupling, FoldedTwinCoupling, Rearrange

__all__ = [
    'NORMALISATION',
    'Density',
    'FoldedFlow',
    'FoldedGaussian',
]

NORMALISATION = 0.5 * math.log(2.0 * math.pi)
"""Share of one dimension in a standard normal's normalisation, in nats."""


class Density(nn.Module, ABC):
    """
    A log-density of features with the constant kept apart.

    Parameters
    ----------
    constant : float
        ``nll(x) - energy(x)``, in nats.

    """

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    @abstractmethod
    def energy(self, features: Tensor) -> Tensor:
        """
        Return the nll without its constant.

        Parameters
        ----------
        features : Tensor of shape (N, D)
            Features.

        Returns
        -------
        Tensor of shape (N,)
            In nats.

        """

    def nll(self, features: Tensor) -> Tensor:
        """
        Return the negative log-density.

        Parameters
        ----------
        features : Tensor of shape (N, D)
            Features.

        Returns
        -------
        Tensor of shape (N,)
            In nats.

        """
        return self.energy(features) + self.constant

    def forward(self, features: Tensor) -> Tensor:
        """Return `nll`."""
        return self.nll(features)


class FoldedGaussian(Density):
    """
    A Gaussian as one whitening map.

    Parameters
    ----------
    whiten : nn.Linear
        Map of features to independent standard normal variables.
    constant : float
        ``log |det|`` of the covariance's root plus the normalisation, in nats.

    """

    def __init__(self, whiten: nn.Linear, constant: float) -> None:
        super().__init__(constant)
        self.whiten = whiten

    def energy(self, features: Tensor) -> Tensor:
        """Return half the squared Mahalanobis distance; see `Density.energy`."""
        latent: Tensor = self.whiten(features)  # (N, D)
        return 0.5 * (latent * latent).sum(dim=1)


class FoldedFlow(Density):
    """
    A flow as few plain maps; `ros_ood_monitor.training.folding.fold` makes it.

    Parameters
    ----------
    start : nn.Module
        First map of the features, (N, D) to (N, D).
    steps : sequence of (Rearrange, FoldedCoupling or FoldedTwinCoupling)
        The coupling steps.
    finish : nn.Linear or None
        A dense map after the last coupling, where the flow ends with one.
    constant : float
        Minus all constant log-determinants plus the base's normalisation, in nats.

    """

    def __init__(
        self,
        start: nn.Module,
        steps: Sequence[tuple[Rearrange, FoldedCoupling | FoldedTwinCoupling]],
        finish: nn.Linear | None,
        constant: float,
    ) -> None:
        super().__init__(constant)
        self.start = start
        self.sizes = steps[0][0].sizes if steps else ()
        self.rearrangements = nn.ModuleList(rearrange for rearrange, _ in steps)
        self.couplings = nn.ModuleList(coupling for _, coupling in steps)
        self.finish = finish

    def energy(self, features: Tensor) -> Tensor:
        """Return half the squared latent norm minus the log-scales; see `Density.energy`."""
        latent: Tensor = self.start(features)  # (N, D)
        if len(self.couplings) == 0:
            return 0.5 * (latent * latent).sum(dim=1)
        log_scales: dict[int, Tensor] = {}
        first, second = latent.split(self.sizes, dim=1)  # (N, a), (N, b)
        for rearrange, coupling in zip(self.rearrangements, self.couplings, strict=True):
            first, second = rearrange(first, second)
            second, log_scale = coupling(first, second)
            width = int(log_scale.shape[1])
            log_scales[width] = log_scales[width] + log_scale if width in log_scales else log_scale
        if self.finish is not None:
            squared = self.finish(torch.cat((first, second), dim=1)).square().sum(dim=1)
        else:
            squared = first.square().sum(dim=1) + second.square().sum(dim=1)
        energy: Tensor = 0.5 * squared
        for total in log_scales.values():
            energy = energy - total.sum(dim=1)
        return energy

    def log_prob(self, features: Tensor) -> Tensor:
        """Return the log-density (N,), in nats."""
        return -self.nll(features)
