"""
Detectors as the robot runs them: plain affine maps and elementwise functions, nothing else.

A `Detector` splits its score into ``energy(x) + constant``, and a `Density` is one whose score is
its nll. The constant is kept apart because that of a density is large (thousands of nats) beside
the differences that matter: whoever standardises the nll can fold it in float64 instead of losing
digits to it in float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

from ros_ood_monitor.training.detectors.folded_steps import (
    FoldedCoupling,
    FoldedTwinCoupling,
    Rearrange,
)

__all__ = [
    'NORMALISATION',
    'Density',
    'Detector',
    'FoldedFlow',
    'FoldedGaussian',
]

NORMALISATION = 0.5 * math.log(2.0 * math.pi)
"""Share of one dimension in a standard normal's normalisation, in nats."""


class Detector(nn.Module, ABC):
    """
    What tells how unlike the training frames some features are.

    Parameters
    ----------
    constant : float
        ``score(x) - energy(x)``.
    deviation : float
        What the scores of frames like those of the training vary by, as far as width and scale
        tell it; where held-out scores vary by far less, they are those of a scene at rest.

    """

    def __init__(self, constant: float, deviation: float) -> None:
        super().__init__()
        self.constant = constant
        self.deviation = deviation

    @abstractmethod
    def energy(self, features: Tensor) -> Tensor:
        """
        Return the score without its constant.

        Parameters
        ----------
        features : Tensor of shape (N, D)
            Features: pooled ones of N frames, or those of N places of a grid.

        Returns
        -------
        Tensor of shape (N,)
            Higher = more anomalous.

        """

    def score(self, features: Tensor) -> Tensor:
        """
        Return the scores: the nll in nats of a density, a distance of anything else.

        Parameters
        ----------
        features : Tensor of shape (N, D)
            Features.

        Returns
        -------
        Tensor of shape (N,)
            Higher = more anomalous.

        """
        return self.energy(features) + self.constant

    def forward(self, features: Tensor) -> Tensor:
        """Return `score`."""
        return self.score(features)


class Density(Detector):
    """
    A log-density of features.

    Parameters
    ----------
    constant : float
        ``nll(x) - energy(x)``, in nats.
    channels : int
        Width D of the features; the nll of a D-dimensional Gaussian has the deviation
        ``sqrt(D / 2)``.

    """

    def __init__(self, constant: float, channels: int) -> None:
        super().__init__(constant, math.sqrt(channels / 2.0))

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
        return self.score(features)


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
        super().__init__(constant, whiten.in_features)
        self.whiten = whiten

    def energy(self, features: Tensor) -> Tensor:
        """Return half the squared Mahalanobis distance; see `Density.energy`."""
        latent: Tensor = self.whiten(features)  # (N, D)
        return 0.5 * (latent * latent).sum(dim=1)


class FoldedFlow(Density):
    """
    A flow as few plain maps; `ros_ood_monitor.training.flows.folding.fold` makes it.

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
    channels : int
        Width D of the features.

    """

    def __init__(
        self,
        start: nn.Module,
        steps: Sequence[tuple[Rearrange, FoldedCoupling | FoldedTwinCoupling]],
        finish: nn.Linear | None,
        constant: float,
        channels: int,
    ) -> None:
        super().__init__(constant, channels)
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
