"""A folded flow is the flow: to rounding in float64, to 1e-5 in float32."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('nflows')

from nflows.distributions.normal import ConditionalDiagonalNormal, StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    AdditiveCouplingTransform,
    AffineCouplingTransform,
    CompositeTransform,
    OneByOneConvolution,
    RandomPermutation,
    ReversePermutation,
    Sigmoid,
)

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.flows.assembly import build_flow, initialize
from ros_ood_monitor.training.flows.folding import fold
from ros_ood_monitor.training.flows.transforms import (
    ActNorm,
    AffineCoupling,
    Conditioner,
    LULinear,
)
from tests.flow_tools import features, perturb


def trained(flow: Any, x: Any, steps: int = 5) -> Any:
    """Take a few optimiser steps, then move every parameter a little."""
    initialize(flow, x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    return perturb(flow, size=0.3 / x.shape[1] ** 0.5)


def differences(flow: Any, x: Any) -> tuple[float, float]:
    """Return the largest difference in float64 in nats, and relative in float32."""
    folded = fold(flow)
    with torch.no_grad():
        exact = flow.double().log_prob(x.double())
        wide = folded.log_prob(x.double())
        narrow = folded.float().log_prob(x)
    assert exact.std() > 0.1
    relative = (narrow - exact).abs().max() / exact.abs().mean()
    return float((wide - exact).abs().max()), float(relative)


@pytest.mark.parametrize('mixing', ['permutation', 'lu'])
@pytest.mark.parametrize('whiten', [True, False])
@pytest.mark.parametrize('width', [16, 25, 320])
def test_folded_flow_equals_unfolded(mixing: str, whiten: bool, width: int) -> None:
    torch.set_num_threads(1)
    x = features(64, width)
    flow = build_flow(width, hidden=16, couplings=4, mixing=mixing, whiten=whiten, seed=1)
    wide, narrow = differences(trained(flow, x), x)
    assert wide <= 1e-6
    assert narrow <= 1e-5


def test_folded_flow_equals_unfolded_at_the_width_of_the_penultimate_layer() -> None:
    torch.set_num_threads(1)
    x = features(24, 1280)
    flow = build_flow(1280, hidden=32, couplings=2, mixing='lu', whiten=False)
    wide, narrow = differences(trained(flow, x, steps=1), x)
    assert wide <= 1e-6
    assert narrow <= 1e-5


def couplings(width: int, seed: int) -> Any:
    """Return every transform the folder knows, in an order no builder makes."""
    generator = torch.Generator().manual_seed(seed)

    def mask(ones: int) -> Any:
        return (torch.randperm(width, generator=generator) < ones).int()

    def residual(inputs: int, outputs: int) -> Any:
        return ResidualNet(inputs, outputs, 8)

    def own(inputs: int, outputs: int) -> Any:
        return Conditioner(inputs, outputs, 6)

    return CompositeTransform(
        [
            ActNorm(width),
            CompositeTransform(
                [
                    RandomPermutation(width),
                    AffineCouplingTransform(mask(3), residual),
                    ActNorm(width),
                ]
            ),
            ReversePermutation(width),
            AffineCoupling(mask(5), own),
            AffineCoupling(mask(4), own),
            LULinear(width),
            AffineCoupling(mask(6), own),
            RandomPermutation(width),
            AffineCouplingTransform(mask(4), residual),
            ActNorm(width),
            *([LULinear(width)] if seed % 2 else []),
        ]
    )


@pytest.mark.parametrize('seed', [0, 1])
def test_any_order_of_known_transforms_folds(seed: int) -> None:
    torch.manual_seed(seed)
    flow = Flow(couplings(9, seed), StandardNormal([9]))
    x = 5.0 * features(50, 9)
    initialize(flow, x)
    wide, narrow = differences(perturb(flow, size=0.3), x)
    assert wide <= 1e-6
    assert narrow <= 1e-4  # nine dimensions: log p itself is near zero


def test_folding_leaves_the_flow_alone() -> None:
    flow = trained(build_flow(8, hidden=4), features(30, 8))
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    fold(flow)
    assert all(torch.equal(before[key], value) for key, value in flow.state_dict().items())


def test_halves_are_swapped_without_a_gather_between_couplings() -> None:
    folded = fold(trained(build_flow(8, hidden=4, couplings=4), features(30, 8)))
    assert [r.swap for r in folded.rearrangements] == [False, True, True, True]
    assert all(r.index is None and r.linear is None for r in folded.rearrangements)


def test_couplings_at_the_identity_are_dropped() -> None:
    x = features(30, 8)
    flow = build_flow(8, hidden=4)
    initialize(flow, x)
    folded = fold(flow)
    assert len(folded.couplings) == 0
    with torch.no_grad():
        exact = flow.double().log_prob(x.double())
        assert torch.allclose(folded.log_prob(x.double()), exact, atol=1e-6)


MASK = [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    'transform',
    [
        AdditiveCouplingTransform(MASK, lambda i, o: Conditioner(i, o, 4)),
        AffineCoupling(MASK, torch.nn.Linear),
        OneByOneConvolution(6),
        Sigmoid(),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_unknown_transforms_are_refused_by_name(transform: Any) -> None:
    flow = Flow(CompositeTransform([ActNorm(6), transform]), StandardNormal([6]))
    with pytest.raises(TrainingError, match=f'cannot fold {type(transform).__name__}'):
        fold(flow)


def test_another_base_is_refused() -> None:
    flow = Flow(CompositeTransform([ActNorm(6)]), ConditionalDiagonalNormal([6]))
    with pytest.raises(TrainingError, match='standard normal'):
        fold(flow)
