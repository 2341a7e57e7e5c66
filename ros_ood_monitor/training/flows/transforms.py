"""
The steps of our own flow: nflows' pieces with their weak spots replaced.

nflows' own are kept where they are sound (composition, permutations, base distribution). Three
are subclassed: the coupling, because its scale is hard-wired to ``sigmoid(u + 2) + 1e-3``;
ActNorm, because a feature that never changes makes its initialisation infinite; the LU map,
because its inverse calls a function that torch is removing.

References
----------
Dinh, Sohl-Dickstein, Bengio (2017), Density estimation using Real NVP, arXiv:1605.08803.
Kingma, Dhariwal (2018), Glow, arXiv:1807.03039 (ActNorm, LU-parametrised mixing).

"""

from __future__ import annotations

from typing import Any

from nflows.transforms.coupling import AffineCouplingTransform
from nflows.transforms.linear import Linear
from nflows.transforms.lu import LULinear as NflowsLULinear
from nflows.transforms.normalization import (
    ActNorm as NflowsActNorm,
)
from nflows.transforms.permutations import Permutation
import torch
from torch import nn, Tensor

from ros_ood_monitor.training.detectors.folded_steps import soft_clamp, soft_clamp_slope
from ros_ood_monitor.training.detectors.gaussian import Gaussian

__all__ = ['ActNorm', 'AffineCoupling', 'Conditioner', 'LULinear', 'Swap', 'Whitening']


class ActNorm(NflowsActNorm):  # type: ignore[misc]
    """
    Per-feature scale and shift, initialised to zero mean and unit deviation.

    Parameters
    ----------
    features : int
        Width of the features.
    floor : float, default 0.01
        Smallest deviation that counts, as a share of the features' root mean square deviation.
        A ReLU unit that is silent in all of the training data has none at all.

    """

    def __init__(self, features: int, *, floor: float = 0.01) -> None:
        super().__init__(features)
        self.floor = floor

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Scale and shift.

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
        outputs = torch.addcmul(self.shift, inputs, self.scale)  # (N, D)
        return outputs, self.log_scale.sum().expand(inputs.shape[0])

    def _initialize(self, inputs: Tensor) -> None:
        with torch.no_grad():
            std = inputs.std(dim=0, unbiased=False)  # (D,)
            typical = std.square().mean().sqrt()
            std = std.clamp_min(float(self.floor * typical)).clamp_min(1e-6)
            self.log_scale.copy_(-std.log())
            self.shift.copy_(-inputs.mean(dim=0) / std)
            self.initialized.fill_(True)


class Whitening(Linear):  # type: ignore[misc]
    """
    A fixed linear map that makes the features' Gaussian a standard normal.

    It is the identity until `fit`, and is not trained: its entries follow from the data in closed
    form, and gradient steps small enough for the couplings would not move them.

    Parameters
    ----------
    features : int
        Width D of the features.

    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        del self.bias
        self.register_buffer('map', torch.eye(features))
        self.register_buffer('bias', torch.zeros(features))

    def fit(self, gaussian: Gaussian) -> None:
        """
        Take mean and covariance.

        Parameters
        ----------
        gaussian : Gaussian
            Of the fit part.

        """
        weight, bias, _ = gaussian.whitening()
        self.map.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def weight(self) -> Tensor:
        """Return the map (D, D)."""
        weight: Tensor = self.map
        return weight

    def logabsdet(self) -> Tensor:
        """Return the log-determinant of the map."""
        # the map is triangular; taken from the map as it is stored, rounding and all
        return self.weight().diagonal().log().sum()

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Whiten.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            White features (N, D) and the log-determinant (N,).

        """
        outputs = nn.functional.linear(inputs, self.weight(), self.bias)  # (N, D)
        return outputs, self.logabsdet().expand(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Colour again.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            White features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Features (N, D) and the inverse's log-determinant (N,).

        """
        outputs = torch.linalg.solve(self.weight(), (inputs - self.bias).t()).t()  # (N, D)
        return outputs, -self.logabsdet().expand(inputs.shape[0])


class LULinear(NflowsLULinear):  # type: ignore[misc]
    """nflows' LU-parametrised linear map with an inverse that keeps working."""

    def inverse_no_cache(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """
        Solve for the inputs of given outputs.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Outputs of the map.

        Returns
        -------
        tuple of Tensor
            Inputs (N, D) and the inverse's log-determinant (N,).

        """
        lower, upper = self._create_lower_upper()
        outputs = (inputs - self.bias).t()  # (D, N)
        outputs = torch.linalg.solve_triangular(lower, outputs, upper=False, unitriangular=True)
        outputs = torch.linalg.solve_triangular(upper, outputs, upper=True)
        return outputs.t(), -self.logabsdet() * inputs.new_ones(inputs.shape[0])


class Conditioner(nn.Module):
    """
    The network of a coupling: one hidden layer, whose last layer starts at zero.

    Parameters
    ----------
    inputs, outputs, hidden : int
        Widths.

    """

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.initial_layer = nn.Linear(inputs, hidden)
        self.final_layer = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.final_layer.weight)
        nn.init.zeros_(self.final_layer.bias)

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
            Shifts, then unclamped log-scales.

        """
        hidden = torch.relu(self.initial_layer(inputs))  # (N, hidden)
        outputs: Tensor = self.final_layer(hidden)  # (N, outputs)
        return outputs


class _Reordered(torch.autograd.Function):
    """Columns in another order; the gradient goes the way back."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, order: Tensor, back: Tensor) -> Tensor:
        """Return ``inputs[:, order]``."""
        ctx.save_for_backward(back)
        return inputs.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient in the order of the inputs."""
        (back,) = ctx.saved_tensors
        return gradient.index_select(1, back), None, None


class _Coupled(torch.autograd.Function):
    """
    The affine part of a coupling with its gradient written out.

    Training is bound by the number of small operations, and this halves those of a coupling.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, shift: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``inputs * exp(soft_clamp(raw)) + shift`` and the log-scales' sum (N,)."""
        log_scale = soft_clamp(raw)
        scale = log_scale.exp()
        ctx.save_for_backward(inputs, raw, scale)
        return torch.addcmul(shift, inputs, scale), log_scale.sum(dim=1)

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_log_det: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of inputs, shift and raw log-scales."""
        inputs, raw, scale = ctx.saved_tensors
        of_inputs = of_outputs * scale
        of_log_scale = torch.addcmul(of_log_det[:, None], of_inputs, inputs)
        return of_inputs, of_outputs, of_log_scale * soft_clamp_slope(raw)


class Swap(Permutation):  # type: ignore[misc]
    """
    The permutation that puts the last features first: two slices instead of a gather.

    Parameters
    ----------
    features : int
        Width D of the features.
    count : int
        How many come first afterwards.

    """

    def __init__(self, features: int, count: int) -> None:
        super().__init__(torch.arange(features).roll(count))
        self._sizes = (features - count, count)

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Swap.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Features (N, D) and the log-determinant (N,), which is 0.

        """
        first, last = inputs.split(self._sizes, dim=1)
        return torch.cat([last, first], dim=1), inputs.new_zeros(inputs.shape[0])


class AffineCoupling(AffineCouplingTransform):  # type: ignore[misc]
    """
    Affine coupling with the exponential of a softly clamped log-scale.

    ``log_scale = 0.636 c atan(u / c)`` with c = 3: the identity at initialisation, both expanding
    and contracting, and never beyond exp(+-3) however far training or a strange input drives u.

    References
    ----------
    Ardizzone et al. (2019), Guided image generation with conditional invertible neural networks,
    arXiv:1907.02392 (the clamp).

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        order = torch.cat([self.identity_features, self.transform_features])
        self.register_buffer('order', order, persistent=False)
        self.register_buffer('back', order.argsort(), persistent=False)
        self._is_in_order = order.tolist() == list(range(len(order)))

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """
        Transform one half of the features by the other.

        Parameters
        ----------
        inputs : Tensor of shape (N, D)
            Features.
        context : None
            Part of nflows' interface; not used.

        Returns
        -------
        tuple of Tensor
            Features (N, D) and the log-determinant (N,).

        """
        # nflows writes each half to its places, which is ten times slower to differentiate
        order, back = self.order, self.back
        halves = inputs if self._is_in_order else _Reordered.apply(inputs, order, back)  # (N, D)
        identity, transformed = halves.split(
            [self.num_identity_features, self.num_transform_features], dim=1
        )
        shift, raw = self.transform_net(identity, context).split(self.num_transform_features, 1)
        outputs, log_det = _Coupled.apply(transformed, shift, raw)
        together = torch.cat([identity, outputs], dim=1)  # (N, D)
        return together if self._is_in_order else _Reordered.apply(together, back, order), log_det

    def _log_scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift = transform_params[:, : self.num_transform_features]
        raw = transform_params[:, self.num_transform_features :]
        return soft_clamp(raw), shift

    def _coupling_transform_inverse(
        self, inputs: Tensor, transform_params: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._log_scale_and_shift(transform_params)
        return (inputs - shift) * (-log_scale).exp(), -log_scale.sum(dim=1)
