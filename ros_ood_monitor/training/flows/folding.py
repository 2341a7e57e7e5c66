"""
Exact folding of an nflows flow into few plain maps.

Between two couplings everything is affine: ActNorm, permutations and LU maps collapse, in float64,
into one map each. Where that map only permutes and scales (no LU), not even that one remains:
the features are stored in a *gauge* ``logical = g * stored + d`` chosen from the last step
backwards, so that scales and shifts move into the weights of the coupling networks, and halves
that swap are merely renamed. What is left of a whole flow is one leading Gather, Mul and Add, the
couplings themselves, and a sum. Couplings that training left at the identity are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
import copy
from typing import Any

from nflows.distributions.normal import StandardNormal
from nflows.transforms.base import CompositeTransform
from nflows.transforms.coupling import AffineCouplingTransform
from nflows.transforms.lu import LULinear as NflowsLULinear
from nflows.transforms.normalization import ActNorm as NflowsActNorm
from nflows.transforms.permutations import (
    Permutation,
    RandomPermutation,
    ReversePermutation,
)
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.folded import FoldedFlow, NORMALISATION
from ros_ood_monitor.training.detectors.folded_steps import (
    FoldedCoupling,
    FoldedTwinCoupling,
    Rearrange,
    Reorder,
    SCALE_CLAMP,
)
from ros_ood_monitor.training.flows.affine_maps import (
    Dense,
    Gauge,
    identity,
    in_gauge,
    mapped,
    Monomial,
    permuted,
    scaled,
)
from ros_ood_monitor.training.flows.published import (
    PLULinear,
    ShiftScaleCoupling,
    Standardizing,
    TwinConditioner,
)
from ros_ood_monitor.training.flows.transforms import (
    ActNorm,
    AffineCoupling,
    LULinear,
    Swap,
    Whitening,
)

__all__ = ['fold']

# exactly these: a subclass may compute something else (OneByOneConvolution is an LULinear)
_ACTNORMS = (NflowsActNorm, ActNorm, Standardizing)
_PERMUTATIONS = (Permutation, RandomPermutation, ReversePermutation, Swap)
_LINEARS = (NflowsLULinear, LULinear, Whitening, PLULinear)


def fold(flow: Any) -> FoldedFlow:
    """
    Fold a flow into plain maps that compute the same density.

    Parameters
    ----------
    flow : nflows.flows.base.Flow
        Any composition of ActNorm, Permutation, linear maps (LULinear, Whitening, PLULinear)
        and affine couplings whose network has an ``initial_layer`` and a ``final_layer``
        (`Conditioner`, nflows' ResidualNet) or is a `TwinConditioner`, over a standard normal
        base. It is not changed.

    Returns
    -------
    FoldedFlow
        In float64; call ``.float()`` for deployment.

    Raises
    ------
    TrainingError
        If the flow holds anything else.

    """
    flow = copy.deepcopy(flow).double().eval()
    if not isinstance(flow._distribution, StandardNormal):
        got = type(flow._distribution).__name__
        msg = f'cannot fold a flow over {got}: expected a standard normal base'
        raise TrainingError(msg)
    features = int(flow._distribution._shape[0])
    with torch.no_grad():
        affines, couplings, log_det = _collect(flow._transform, features)
        return _emit(affines, couplings, features * NORMALISATION - log_det)


def _leaves(transform: Any) -> Iterable[Any]:
    if isinstance(transform, CompositeTransform):
        for part in transform._transforms:
            yield from _leaves(part)
    else:
        yield transform


def _collect(
    transform: Any, features: int
) -> tuple[list[Monomial | Dense], list[AffineCouplingTransform], float]:
    """Return K + 1 affine maps around K couplings, and the sum of constant log-determinants."""
    affines: list[Monomial | Dense] = [identity(features)]
    couplings: list[AffineCouplingTransform] = []
    log_det = 0.0
    for leaf in _leaves(transform):
        if isinstance(leaf, AffineCouplingTransform):
            _check_coupling(leaf)
            if _is_identity(leaf):
                continue
            couplings.append(leaf)
            affines.append(identity(features))
        elif type(leaf) in _ACTNORMS:
            affines[-1] = scaled(affines[-1], leaf.scale, leaf.shift)
            log_det += float(leaf.log_scale.sum())
        elif type(leaf) in _PERMUTATIONS:
            affines[-1] = permuted(affines[-1], leaf._permutation)
        elif type(leaf) in _LINEARS:
            affines[-1] = mapped(affines[-1], leaf.weight(), leaf.bias)
            log_det += float(leaf.logabsdet())
        else:
            msg = (
                f'cannot fold {type(leaf).__name__}: expected ActNorm, Permutation, LULinear or '
                'an affine coupling'
            )
            raise TrainingError(msg)
    return affines, couplings, log_det


def _check_coupling(coupling: AffineCouplingTransform) -> None:
    net = coupling.transform_net
    if type(coupling) is ShiftScaleCoupling and type(net) is TwinConditioner:
        return
    layers = [getattr(net, name, None) for name in ('initial_layer', 'final_layer')]
    known = type(coupling) in (AffineCoupling, AffineCouplingTransform)
    if not known or not all(isinstance(layer, nn.Linear) for layer in layers):
        msg = (
            f'cannot fold {type(coupling).__name__} over {type(net).__name__}: expected an affine '
            'coupling whose network has linear layers initial_layer and final_layer'
        )
        raise TrainingError(msg)
    if coupling.unconditional_transform is not None:
        msg = 'cannot fold a coupling with an unconditional transform'
        raise TrainingError(msg)


def _is_identity(coupling: AffineCouplingTransform) -> bool:
    """Tell whether a coupling is as it was before training: no shift, no scale."""
    net = coupling.transform_net
    if isinstance(coupling, ShiftScaleCoupling):
        layers = [net.shift_final, net.scale_final]
    elif isinstance(coupling, AffineCoupling):
        layers = [net.final_layer]
    else:
        return False
    return not any(bool(layer.weight.any() or layer.bias.any()) for layer in layers)


def _gauges(
    affines: list[Monomial | Dense], couplings: list[AffineCouplingTransform]
) -> tuple[list[Gauge], list[Gauge]]:
    """
    Return the gauge before each coupling (and at the end), and the one after each coupling.

    From the end backwards: the stored latent is the logical one. A monomial map is absorbed into
    the gauge before it; a dense map takes any gauge, so the plain one. A coupling keeps the scale
    and needs a zero shift where it multiplies.
    """
    features = affines[0].shift.shape[0]
    ones = torch.ones(features, dtype=torch.float64)
    before = [Gauge(ones, torch.zeros_like(ones))]
    after: list[Gauge] = []
    for affine, coupling in zip(reversed(affines[1:]), reversed(couplings), strict=True):
        gauge = Gauge(ones.clone(), torch.zeros_like(ones))
        if isinstance(affine, Monomial):
            gauge.scale[affine.index] = before[-1].scale / affine.scale
            gauge.shift[affine.index] = (before[-1].shift - affine.shift) / affine.scale
        after.append(gauge)
        shift = gauge.shift.clone()
        shift[coupling.transform_features] = 0.0
        before.append(Gauge(gauge.scale, shift))
    return before[::-1], after[::-1]


def _emit(
    affines: list[Monomial | Dense],
    couplings: list[AffineCouplingTransform],
    constant: float,
) -> FoldedFlow:
    """Build the module; ``layout`` says which logical position each stored column holds."""
    before, after = _gauges(affines, couplings)
    width = len(affines[0].shift)
    layout = _wanted(couplings[0]) if couplings else torch.arange(width)
    first = in_gauge(affines[0], before[0])
    start: nn.Module
    if isinstance(first, Monomial):
        start = Reorder(first.index[layout], first.scale[layout], first.shift[layout])
    else:
        start = _linear(first.weight[layout], first.shift[layout])
    if not couplings:
        return FoldedFlow(start, [], None, constant, width)
    rearrange = Rearrange(_sizes(couplings[0]))
    steps: list[tuple[Rearrange, FoldedCoupling | FoldedTwinCoupling]] = []
    for k, coupling in enumerate(couplings):
        one = _fold_twin if isinstance(coupling, ShiftScaleCoupling) else _fold_coupling
        steps.append((rearrange, one(coupling, layout, before[k], after[k])))
        affine = in_gauge(affines[k + 1], before[k + 1])
        if k + 1 < len(couplings):
            split = coupling.num_identity_features
            rearrange, layout = _between(affine, layout, split, couplings[k + 1])
    finish = _linear(affine.weight[:, layout], affine.shift) if isinstance(affine, Dense) else None
    return FoldedFlow(start, steps, finish, constant, width)


def _wanted(coupling: AffineCouplingTransform) -> Tensor:
    return torch.cat((coupling.identity_features, coupling.transform_features))


def _sizes(coupling: AffineCouplingTransform) -> tuple[int, int]:
    return coupling.num_identity_features, coupling.num_transform_features


def _between(
    affine: Monomial | Dense, layout: Tensor, split: int, coupling: AffineCouplingTransform
) -> tuple[Rearrange, Tensor]:
    """Return what stands between two couplings, and the layout for the second one."""
    sizes, wanted = _sizes(coupling), _wanted(coupling)
    if isinstance(affine, Dense):
        return Rearrange(
            sizes, linear=_linear(affine.weight[wanted][:, layout], affine.shift[wanted])
        ), wanted
    layout = torch.argsort(affine.index)[layout]  # position p of this stage held index[p] before
    kept = set(coupling.identity_features.tolist())
    first, second = layout[:split], layout[split:]
    if set(first.tolist()) == kept:
        return Rearrange(sizes), layout
    if set(second.tolist()) == kept:
        return Rearrange(sizes, swap=True), torch.cat((second, first))
    return Rearrange(sizes, index=torch.argsort(layout)[wanted]), wanted


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    linear.weight = nn.Parameter(weight.contiguous())
    linear.bias = nn.Parameter(bias.contiguous())
    return linear


def _fold_coupling(
    coupling: AffineCouplingTransform, layout: Tensor, before: Gauge, after: Gauge
) -> FoldedCoupling:
    """Move the gauges into the network's outer layers and its columns and rows into the layout."""
    transform, rows = _rows(coupling, layout)
    net = copy.deepcopy(coupling.transform_net)
    net.initial_layer = _first_layer(net.initial_layer, coupling, layout, before)
    layer, width = net.final_layer, len(rows)
    scale, shift = after.scale[transform], after.shift[transform]
    shift_weight, raw_weight = layer.weight[rows], layer.weight[width + rows]
    shift_bias, raw_bias = layer.bias[rows], layer.bias[width + rows]
    soft_clamp = isinstance(coupling, AffineCoupling)
    if soft_clamp:
        raw_weight, raw_bias = raw_weight / SCALE_CLAMP, raw_bias / SCALE_CLAMP
    else:
        raw_bias = raw_bias + 2.0
    net.final_layer = _linear(
        torch.cat((shift_weight / scale[:, None], raw_weight)),
        torch.cat(((shift_bias - shift) / scale, raw_bias)),
    )
    return FoldedCoupling(net, width, soft_clamp=soft_clamp)


def _fold_twin(
    coupling: ShiftScaleCoupling, layout: Tensor, before: Gauge, after: Gauge
) -> FoldedTwinCoupling:
    """
    Do the same for a coupling that shifts first.

    ``(g x - t) exp(-s) = g y + d`` in the stored values x and y, so ``y = (x - t / g) exp(-s) -
    d / g``: the scale of the gauge goes into the shifts, its shift stays behind as an offset.
    """
    transform, rows = _rows(coupling, layout)
    net = coupling.transform_net
    first = [
        _first_layer(layer, coupling, layout, before)
        for layer in (net.shift_initial, net.scale_initial)
    ]
    scale, shift = after.scale[transform], after.shift[transform]
    slope = SCALE_CLAMP if coupling.clamp else 1.0
    return FoldedTwinCoupling(
        _linear(
            torch.cat([layer.weight for layer in first]),
            torch.cat([layer.bias for layer in first]),
        ),
        _linear(
            -net.shift_final.weight[rows] / scale[:, None], -net.shift_final.bias[rows] / scale
        ),
        _linear(-net.scale_final.weight[rows] / slope, -net.scale_final.bias[rows] / slope),
        clamp=coupling.clamp,
        offset=-shift / scale if bool(shift.any()) else None,
    )


def _rows(coupling: AffineCouplingTransform, layout: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions that are transformed, and their rows in the network's last layer."""
    transform = layout[coupling.num_identity_features :]
    # the network's own order of rows and columns is that of the coupling's index lists
    return transform, torch.searchsorted(coupling.transform_features, transform)


def _first_layer(
    layer: nn.Linear, coupling: AffineCouplingTransform, layout: Tensor, before: Gauge
) -> nn.Linear:
    """Return a network's first layer for stored instead of logical inputs."""
    kept = layout[: coupling.num_identity_features]
    weight = layer.weight[:, torch.searchsorted(coupling.identity_features, kept)]
    return _linear(weight * before.scale[kept], layer.bias + weight @ before.shift[kept])
