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

__all__ = [
    'NORMALISATION',
    'SCALE_CLAMP',
    'SCALE_SLOPE',
    'Density',
    'FoldedCoupling',
    'FoldedFlow',
    'FoldedGaussian',
    'Rearrange',
    'Reorder',
]

SCALE_CLAMP = 3.0
"""The clamp c of a coupling's log-scale."""

SCALE_SLOPE = 0.636 * SCALE_CLAMP
"""The log-scale is ``SCALE_SLOPE * atan(u / c)``: 0.636 is 2 / pi, so it stays in (-c, c)."""

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


class Reorder(nn.Module):
    """
    A leading permutation with scale and shift: one Gather, Mul and Add.

    Parameters
    ----------
    index : Tensor of shape (D,), int64
        Source of each output.
    scale, shift : Tensor of shape (D,)
        Applied after the permutation.

    """

    def __init__(self, index: Tensor, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer('index', index)
        self.register_buffer('scale', scale)
        self.register_buffer('shift', shift)

    def forward(self, features: Tensor) -> Tensor:
        """Return the reordered features (N, D)."""
        index, scale, shift = (self.get_buffer(name) for name in ('index', 'scale', 'shift'))
        return features.index_select(1, index) * scale + shift


class Rearrange(nn.Module):
    """
    Brings two parts into the order in which the next coupling reads and writes them.

    Parameters
    ----------
    sizes : tuple of int
        Widths of the two parts afterwards.
    swap : bool
        Whether the parts only change places, which costs nothing.
    linear : nn.Linear, optional
        Dense map of the joined parts.
    index : Tensor of shape (D,), int64, optional
        Permutation of the joined parts.

    """

    def __init__(
        self,
        sizes: tuple[int, int],
        *,
        swap: bool = False,
        linear: nn.Linear | None = None,
        index: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.swap = swap
        self.linear = linear
        self.register_buffer('index', index)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the identity part and the part to transform."""
        if self.swap:
            return second, first
        if self.linear is None and self.index is None:
            return first, second
        joined = torch.cat((first, second), dim=1)  # (N, D)
        if self.linear is not None:
            joined = self.linear(joined)
        else:
            joined = joined.index_select(1, self.get_buffer('index'))
        first, second = joined.split(self.sizes, dim=1)  # (N, a), (N, D - a)
        return first, second


class FoldedCoupling(nn.Module):
    """
    An affine coupling whose neighbouring affine maps live in its network's outer layers.

    Parameters
    ----------
    net : nn.Module
        Maps the identity part (N, a) to shifts and raw log-scales (N, 2b).
    width : int
        Width b of the transformed part.
    soft_clamp : bool
        True where the log-scale is the softly clamped one, False for nflows' own
        ``log(sigmoid(raw) + 1e-3)``.

    """

    def __init__(self, net: nn.Module, width: int, *, soft_clamp: bool) -> None:
        super().__init__()
        self.net = net
        self.width = width
        self.soft_clamp = soft_clamp

    def forward(self, identity: Tensor, transformed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new transformed part and its log-scales, both (N, b)."""
        shift, raw = self.net(identity).split((self.width, self.width), dim=1)
        if self.soft_clamp:
            log_scale = SCALE_SLOPE * torch.atan(raw)
            return transformed * log_scale.exp() + shift, log_scale
        scale = torch.sigmoid(raw) + 1e-3
        return transformed * scale + shift, scale.log()


class FoldedFlow(Density):
    """
    A flow as few plain maps; `ros_ood_monitor.training.folding.fold` makes it.

    Parameters
    ----------
    start : nn.Module
        First map of the features, (N, D) to (N, D).
    steps : sequence of (Rearrange, FoldedCoupling)
        The coupling steps.
    finish : nn.Linear or None
        A dense map after the last coupling, where the flow ends with one.
    constant : float
        Minus all constant log-determinants plus the base's normalisation, in nats.

    """

    def __init__(
        self,
        start: nn.Module,
        steps: Sequence[tuple[Rearrange, FoldedCoupling]],
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
