"""
Flows on pooled features: put together by `FlowSettings`, and initialised by the data.

The steps are those of `ros_ood_monitor.training.flows.transforms` (ours) and
`ros_ood_monitor.training.flows.published` (two published ones), composed by nflows.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import threading

from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.base import CompositeTransform
from nflows.transforms.normalization import (
    ActNorm as NflowsActNorm,
)
from nflows.transforms.permutations import (
    RandomPermutation,
)
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.gaussian import estimate, Gaussian
from ros_ood_monitor.training.flows.published import glow_steps, realnvp_steps
from ros_ood_monitor.training.flows.transforms import (
    ActNorm,
    AffineCoupling,
    Conditioner,
    LULinear,
    Swap,
    Whitening,
)
from ros_ood_monitor.training.rows import Rows, spread
from ros_ood_monitor.training.settings.presets import FlowSettings

__all__ = ['MIXINGS', 'build_flow', 'flow_from_settings', 'initialize']


_DRAWING = threading.Lock()

MIXINGS = ('permutation', 'lu')
"""How the couplings' halves are mixed."""


def build_flow(
    features: int,
    *,
    hidden: int = 64,
    couplings: int = 4,
    mixing: str = 'permutation',
    whiten: bool = True,
    seed: int = 0,
) -> Flow:
    """
    Build an untrained flow.

    Couplings and LU maps start as the identity: before any training, once `initialize` has seen
    the data, the flow is a Gaussian. With ``whiten`` it is the one with the shrunk
    covariance, without it the one with a diagonal one.

    Parameters
    ----------
    features : int
        Width D of the features, at least 2.
    hidden : int, default 64
        Width of the conditioners' hidden layer.
    couplings : int, default 4
        Number of coupling steps.
    mixing : {'permutation', 'lu'}, default 'permutation'
        ``permutation`` shuffles once and then swaps the halves after each coupling, so that each
        feature is transformed by every second one; ``lu`` puts a random permutation and an
        LU-parametrised linear map before each coupling.
    whiten : bool, default True
        Whether a fixed whitening map comes first.
    seed : int, default 0
        Seed of permutations and weights.

    Returns
    -------
    nflows.flows.base.Flow
        With a standard normal base.

    Raises
    ------
    TrainingError
        If an option is outside its range.

    """
    if mixing not in MIXINGS:
        msg = f'mixing is unknown: expected one of {list(MIXINGS)}, got {mixing!r}'
        raise TrainingError(msg)
    _check_sizes(features, hidden, couplings)
    mask = torch.arange(features) >= features - features // 2  # identity half first

    def conditioner(inputs: int, outputs: int) -> Conditioner:
        return Conditioner(inputs, outputs, hidden)

    with _seeded(seed):
        steps: list[nn.Module] = [Whitening(features)] if whiten else []
        if mixing == 'permutation':
            steps.append(RandomPermutation(features))
        for _ in range(couplings):
            steps.append(ActNorm(features))
            if mixing == 'lu':
                steps += [RandomPermutation(features), LULinear(features)]
            steps.append(AffineCoupling(mask.int(), conditioner))
            if mixing == 'permutation':
                steps.append(Swap(features, features // 2))
        return Flow(CompositeTransform(steps), StandardNormal([features]))


def flow_from_settings(settings: FlowSettings, features: int, *, seed: int) -> Flow:
    """
    Build the untrained flow that settings describe.

    Parameters
    ----------
    settings : FlowSettings
        Architecture and sizes.
    features : int
        Width D of the features, at least 2.
    seed : int
        Of permutations, rotations and weights.

    Returns
    -------
    nflows.flows.base.Flow
        With a standard normal base.

    Raises
    ------
    TrainingError
        If an option is outside its range.

    """
    hidden = settings.hidden or features
    if settings.architecture == 'coupling':
        return build_flow(
            features,
            hidden=hidden,
            couplings=settings.couplings,
            mixing=settings.mixing,
            whiten=settings.whiten,
            seed=seed,
        )
    _check_sizes(features, hidden, settings.couplings)
    make = glow_steps if settings.architecture == 'glow' else realnvp_steps
    with _seeded(seed):
        steps = make(features, hidden=hidden, couplings=settings.couplings, clamp=settings.clamp)
        return Flow(CompositeTransform(steps), StandardNormal([features]))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let modules draw their weights from a seed; torch has one generator for all threads."""
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _check_sizes(features: int, hidden: int, couplings: int) -> None:
    if features < 2 or hidden < 1 or couplings < 1:
        msg = (
            'a flow needs at least 2 features, 1 hidden unit and 1 coupling, '
            f'got {features}, {hidden} and {couplings}'
        )
        raise TrainingError(msg)


def initialize(flow: Flow, features: Rows | Tensor) -> Gaussian | None:
    """
    Let a flow see the data once.

    A whitening map is fitted; behind it every ActNorm starts as the identity, because normalising
    what is white on the fit part would undo the covariance's shrinkage. Without one, each ActNorm
    normalises its inputs.

    Parameters
    ----------
    flow : nflows.flows.base.Flow
        An untrained flow; it is in evaluation mode afterwards.
    features : Rows or Tensor of shape (N, D)
        Features of the fit part, N at least 2. Without a whitening map the flow sees 4096 of
        them at most, spread evenly.

    Returns
    -------
    Gaussian or None
        What the whitening map was made of, where there is one.

    """
    rows: Rows = features.numpy() if isinstance(features, Tensor) else features
    gaussian = None
    with torch.no_grad():
        whitenings = [module for module in flow.modules() if isinstance(module, Whitening)]
        if whitenings:
            gaussian = estimate(rows)
            for module in whitenings:
                module.fit(gaussian)
            for module in flow.modules():
                if isinstance(module, NflowsActNorm):
                    module.initialized.fill_(True)
        else:
            flow.train()
            flow.log_prob(torch.from_numpy(rows[spread(len(rows), 4096)]))
    flow.eval()
    return gaussian
