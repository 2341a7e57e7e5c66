"""
The two published feature-density flows in their own parametrisation.

What a trained density is depends on the path of the optimiser, and Adam's path on how a map is
parametrised: the same function written as ``exp(a) x + b`` and as ``(x - t) exp(-s)`` trains to
something else. So these parts keep the published form, and
`ros_ood_monitor.training.flows.folding` brings them into the common one. Three things differ from
the publications, and none of them the density: the networks of a coupling see and make only the
half that the mask lets through, a product of triangular factors is applied factor by factor, and
ActNorm has a floor, which acts only where a feature hardly ever changes.

References
----------
Cook, Lavoie, Waslander (2024), Feature Density Estimation for Out-of-Distribution Detection via
Normalizing Flows, arXiv:2402.06537 (``glow``).
Lotfi et al. (2025), MedOODFlow, arXiv:2502.11638 (``realnvp``).

"""

from __future__ import annotations

from typing import Any

from nflows.transforms.base import Transform
from nflows.transforms.coupling import AffineCouplingTransform
from nflows.transforms.linear import Linear
import torch
from torch import nn, Tensor

from ros_ood_monitor.training.detectors.folded_steps import soft_clamp

__all__ = [
    'PLULinear',
    'ShiftScaleCoupling',
    'Standardizing',
    'TwinConditioner',
    'glow_steps',
    'realnvp_steps',
]


class Standardizing(Transform):  # type: ignore[misc]
    """
    ActNorm as ``(x - mean) * exp(-log_std)``, initialised by the first batch it sees in training.

    Parameters
    ----------
    features : int
        Width D of the features.
    floor : float, default 0.01
        Smallest deviation that counts, as a share of the features' root mean square deviation.
    from_data : bool, default True
        False for one that starts as the identity: a normal base with its own mean and deviation.

    """

    def __init__(self, features: int, *, floor: float = 0.01, from_data: bool = True) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer('initialized', torch.tensor(not from_data))
        self.log_std = nn.Parameter(torch.zeros(features))
        self.mean = nn.Parameter(torch.zeros(features))

    @property
    def log_scale(self) -> Tensor:
        """Return the logarithm of the factor (D,)."""
        return -self.log_std

    @property
    def scale(self) -> Tensor:
        """Return the factor (D,)."""
        return (-self.log_std).exp()

    @property
    def shift(self) -> Tensor:
        """Return what is added after the factor (D,)."""
        return -self.mean * self.scale

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Standardise.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Outputs (N, D) and the log-determinant (N,).

        """
        if self.training and not bool(self.initialized):
            self._initialize(inputs)
        outputs = (inputs - self.mean) * self.scale  # (N, D)
        return outputs, self.log_scale.sum().expand(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Undo `forward`.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Outputs of the map.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Features (N, D) and the inverse's log-determinant (N,).

        """
        outputs = inputs * self.log_std.exp() + self.mean  # (N, D)
        return outputs, self.log_std.sum().expand(inputs.shape[0])

    def _initialize(self, inputs: Tensor) -> None:
        with torch.no_grad():
            std = inputs.std(dim=0, correction=min(1, len(inputs) - 1))  # (D,)
            typical = std.square().mean().sqrt()
            self.log_std.copy_((std.clamp_min(self.floor * typical) + 1e-6).log())
            self.mean.copy_(inputs.mean(dim=0))
            self.initialized.fill_(True)


class PLULinear(Linear):  # type: ignore[misc]
    """
    A linear map ``P L U`` that starts as a random rotation.

    The permutation P and the signs of U's diagonal are fixed; L below its diagonal, U above it
    and the logarithms of U's diagonal are trained.

    Parameters
    ----------
    features : int
        Width D of the features.

    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        del self.bias
        rotation, _ = torch.linalg.qr(torch.randn(features, features))  # (D, D)
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer('bias', torch.zeros(features))
        self.register_buffer('order', permutation.argmax(dim=1))
        self.register_buffer('sign', upper.diagonal().sign())
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(self.features, dtype=self.lower.dtype)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return lower, upper

    def weight(self) -> Tensor:
        """Return the map (D, D)."""
        lower, upper = self._factors()
        return (lower @ upper)[self.order]

    def logabsdet(self) -> Tensor:
        """Return the log-determinant of the map."""
        return self.log_diagonal.sum()

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Apply the map, one factor after the other.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Outputs (N, D) and the log-determinant (N,).

        """
        lower, upper = self._factors()
        outputs = nn.functional.linear(nn.functional.linear(inputs, upper), lower)  # (N, D)
        return outputs[:, self.order], self.logabsdet().expand(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Solve for the inputs of given outputs.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Outputs of the map.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Inputs (N, D) and the inverse's log-determinant (N,).

        """
        lower, upper = self._factors()
        outputs = inputs[:, self.order.argsort()].t()  # (D, N)
        outputs = torch.linalg.solve_triangular(lower, outputs, upper=False, unitriangular=True)
        outputs = torch.linalg.solve_triangular(upper, outputs, upper=True)
        return outputs.t(), -self.logabsdet().expand(inputs.shape[0])


class TwinConditioner(nn.Module):
    """
    Two networks of one hidden layer each: one for shifts, one for log-scales.

    Parameters
    ----------
    inputs, outputs, hidden : int
        Width of the identity half, of the shifts plus the log-scales, and of each hidden layer.
    fan_in : int
        Width that the first layers' initial weights are drawn for: that of all features, because
        the published networks see the other half too, as zeros.

    """

    def __init__(self, inputs: int, outputs: int, hidden: int, fan_in: int) -> None:
        super().__init__()
        self.shift_initial, self.scale_initial = (nn.Linear(inputs, hidden) for _ in range(2))
        self.shift_final, self.scale_final = (nn.Linear(hidden, outputs // 2) for _ in range(2))
        for layer in (self.shift_initial, self.scale_initial):
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
        for layer in (self.shift_final, self.scale_final):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor, context: Any = None) -> Tensor:
        """
        Return the parameters of the coupling.

        Parameters
        ----------
        inputs : Tensor of shape (N, inputs)
            The identity half.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        Tensor of shape (N, outputs)
            Shifts, then log-scales.

        """
        shift = self.shift_final(torch.relu(self.shift_initial(inputs)))  # (N, outputs / 2)
        scale = self.scale_final(torch.relu(self.scale_initial(inputs)))  # (N, outputs / 2)
        return torch.cat((shift, scale), dim=1)  # (N, outputs)


class ShiftScaleCoupling(AffineCouplingTransform):  # type: ignore[misc]
    """
    Affine coupling ``(x - t) * exp(-s)``.

    Parameters
    ----------
    mask : Tensor of shape (D,), int32
        1 where a feature is transformed.
    hidden : int
        Width of the hidden layers.
    clamp : bool
        Whether s is softly clamped to (-3, 3); if not, it is what the network says.

    """

    def __init__(self, mask: Tensor, hidden: int, *, clamp: bool) -> None:
        def twin(inputs: int, outputs: int) -> TwinConditioner:
            return TwinConditioner(inputs, outputs, hidden, len(mask))

        super().__init__(mask, twin)
        self.clamp = clamp

    def _shift_and_log_scale(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = transform_params.split(self.num_transform_features, dim=1)
        return shift, soft_clamp(raw) if self.clamp else raw

    def _coupling_transform_forward(
        self, inputs: Tensor, transform_params: Tensor
    ) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(transform_params)
        return (inputs - shift) * (-log_scale).exp(), -log_scale.sum(dim=1)

    def _coupling_transform_inverse(
        self, inputs: Tensor, transform_params: Tensor
    ) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(transform_params)
        return inputs * log_scale.exp() + shift, log_scale.sum(dim=1)


def glow_steps(features: int, *, hidden: int, couplings: int, clamp: bool) -> list[nn.Module]:
    """
    Return the steps of the published Glow: coupling, linear map, ActNorm, again and again.

    Parameters
    ----------
    features, hidden, couplings : int
        Widths, and the number of steps.
    clamp : bool
        See `ShiftScaleCoupling`.

    Returns
    -------
    list of nn.Module
        In the direction of the density; every coupling transforms the odd features.

    """
    mask = torch.arange(features).remainder(2).int()
    steps: list[nn.Module] = []
    for _ in range(couplings):
        steps += [
            ShiftScaleCoupling(mask, hidden, clamp=clamp),
            PLULinear(features),
            Standardizing(features),
        ]
    return steps


def realnvp_steps(features: int, *, hidden: int, couplings: int, clamp: bool) -> list[nn.Module]:
    """
    Return the steps of the published RealNVP: ActNorm and coupling, with a mask that alternates.

    Parameters
    ----------
    features, hidden, couplings : int
        Widths, and the number of steps.
    clamp : bool
        See `ShiftScaleCoupling`.

    Returns
    -------
    list of nn.Module
        In the direction of the density; the last one is the trained mean and deviation of the
        normal base, whose own stay at 0 and 1.

    """
    odd = torch.arange(features).remainder(2).int()
    steps: list[nn.Module] = []
    for k in reversed(range(couplings)):
        mask = 1 - odd if k % 2 else odd
        steps += [Standardizing(features), ShiftScaleCoupling(mask, hidden, clamp=clamp)]
    return [*steps, Standardizing(features, from_data=False)]
