"""
Fitting one density to the features of one tap.

A flow is trained in optimiser steps, not epochs, and judged on held-out in-distribution frames
only. Of all looks at the held-out nll, the *earliest* one within one standard error of the lowest
is taken, and step 0 (a Gaussian with a shrunk covariance) is a candidate. More training than the
held-out frames can tell from less makes a flow worse at telling out-of-distribution frames apart.

References
----------
Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees (the one standard
error rule).

"""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.flows import build_flow, initialize
from ros_ood_monitor.training.folded import Density
from ros_ood_monitor.training.folding import fold
from ros_ood_monitor.training.gaussian import fit_gaussian, Gaussian

__all__ = [
    'DENSITIES',
    'WIDEST_FLOW',
    'FitRecord',
    'FlowSettings',
    'choose_density',
    'fit_density',
]

DENSITIES = ('auto', 'flow', 'mahalanobis')
"""Kinds of density; ``auto`` chooses by the tap's width."""

WIDEST_FLOW = 320
"""Channels up to which ``auto`` takes a flow."""


@dataclass(frozen=True)
class FlowSettings:
    """
    How flows are built and trained.

    Parameters
    ----------
    hidden, couplings, mixing
        See `ros_ood_monitor.training.flows.build_flow`.
    steps : int
        Largest number of optimiser steps.
    batch_size : int
        Frames a step; all of them where there are fewer.
    learning_rate, weight_decay, gradient_clip : float
        Of Adam with betas (0.5, 0.999); the clip is on the gradient's norm.
    check_every : int
        Steps between two looks at the held-out nll.
    patience : int
        Looks without a new best after which training stops.

    """

    hidden: int = 64
    couplings: int = 4
    mixing: str = 'permutation'
    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    check_every: int = 20
    patience: int = 10


@dataclass(frozen=True)
class FitRecord:
    """
    What happened while a density was fitted.

    Parameters
    ----------
    density : str
        ``flow`` or ``mahalanobis``.
    step : int
        Optimiser step that was taken; 0 for closed forms.
    steps : int
        Optimiser steps that were made.
    curve : list of (int, float)
        Mean held-out nll at each look, in nats.
    fit_curve : list of (int, float)
        Mean nll of the fit part at the same looks: far under the other, and it is overfitted.
    standard_error : float
        Of the lowest mean, in nats.
    gaussian : Gaussian or None
        What the density is, or is built upon.

    """

    density: str
    step: int = 0
    steps: int = 0
    standard_error: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    gaussian: Gaussian | None = None
    fit_curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def nll_at_start(self) -> float:
        """Mean held-out nll before training, in nats."""
        return self.curve[0][1]

    @property
    def nll(self) -> float:
        """Mean held-out nll of what was taken, in nats."""
        return dict(self.curve)[self.step]

    @property
    def fit_nll(self) -> float:
        """Return the mean nll of the fit part under what was taken, in nats."""
        return dict(self.fit_curve)[self.step]


def choose_density(kind: str, channels: int) -> str:
    """
    Return the density for a tap.

    Parameters
    ----------
    kind : {'auto', 'flow', 'mahalanobis'}
        What was asked for.
    channels : int
        Width of the tap.

    Returns
    -------
    str
        ``flow`` or ``mahalanobis``.

    Raises
    ------
    TrainingError
        If the kind is unknown.

    """
    if kind not in DENSITIES:
        msg = f'density is unknown: expected one of {list(DENSITIES)}, got {kind!r}'
        raise TrainingError(msg)
    if kind != 'auto':
        return kind
    return 'flow' if channels <= WIDEST_FLOW else 'mahalanobis'


def fit_density(
    kind: str,
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
    *,
    settings: FlowSettings,
    seed: int,
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[Density, FitRecord]:
    """
    Fit a density to the features of one tap.

    Parameters
    ----------
    kind : {'flow', 'mahalanobis'}
        Kind of density.
    fit : ndarray of shape (n, D), float32
        Normalised features to fit to.
    held_out : ndarray of shape (m, D), float32
        Normalised features that choose the step.
    settings : FlowSettings
        For flows.
    seed : int
        Of permutations, weights and batches.
    on_progress : callable, optional
        Called with the step and the held-out nll at each look; for ``mahalanobis`` once, with 1.

    Returns
    -------
    tuple of Density and FitRecord
        The density in float64, folded.

    """
    if kind == 'mahalanobis':
        density, gaussian = fit_gaussian(fit)
        nll, fit_nll = (
            float(density.nll(torch.from_numpy(part).double()).mean()) for part in (held_out, fit)
        )
        if on_progress is not None:
            on_progress(1, nll)
        record = FitRecord(
            'mahalanobis', curve=[(0, nll)], gaussian=gaussian, fit_curve=[(0, fit_nll)]
        )
        return density, record
    return _fit_flow(fit, held_out, settings, seed, on_progress)


def _fit_flow(
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
    settings: FlowSettings,
    seed: int,
    on_progress: Callable[[int, float], None] | None,
) -> tuple[Density, FitRecord]:
    flow = build_flow(
        fit.shape[1],
        hidden=settings.hidden,
        couplings=settings.couplings,
        mixing=settings.mixing,
        seed=seed,
    )
    inputs, judged = torch.from_numpy(fit), torch.from_numpy(held_out)
    gaussian = initialize(flow, inputs)
    optimizer = torch.optim.Adam(
        flow.parameters(),
        lr=settings.learning_rate,
        betas=(0.5, 0.999),
        weight_decay=settings.weight_decay,
    )
    generator = torch.Generator().manual_seed(seed)
    looks: list[_Look] = []
    step = 0
    while True:
        if step % settings.check_every == 0 or step == settings.steps:
            looks.append(_look(flow, judged, inputs, step))
            if on_progress is not None:
                on_progress(step, looks[-1].nll)
            best = min(looks, key=lambda look: look.nll)
            stale = sum(1 for look in looks if look.step > best.step)
            if step >= settings.steps or stale >= settings.patience:
                break
        rows = torch.randperm(len(inputs), generator=generator)[: settings.batch_size]
        optimizer.zero_grad(set_to_none=True)
        loss = -flow.log_prob(inputs[rows]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), settings.gradient_clip)
        optimizer.step()
        step += 1
    chosen = next(look for look in looks if look.nll <= best.nll + best.standard_error)
    flow.load_state_dict(chosen.weights)
    record = FitRecord(
        'flow',
        chosen.step,
        step,
        best.standard_error,
        [(look.step, look.nll) for look in looks],
        gaussian,
        [(look.step, look.fit_nll) for look in looks],
    )
    return fold(flow), record


@dataclass(frozen=True)
class _Look:
    """The nll of either part at one step, and the flow that gave it."""

    step: int
    nll: float
    fit_nll: float
    standard_error: float
    weights: dict[str, torch.Tensor]


def _look(flow: Any, judged: torch.Tensor, inputs: torch.Tensor, step: int) -> _Look:
    with torch.no_grad():
        nll = -flow.log_prob(judged)  # (m,)
        fit_nll = -float(flow.log_prob(inputs).mean())  # told, never decides
    mean = float(nll.mean())
    if not math.isfinite(mean):
        if step == 0:
            msg = f'held-out nll is not finite before any training: got {mean}'
            raise TrainingError(msg)
        mean = math.inf  # never chosen, and counts toward the patience
    error = float(nll.std(unbiased=False)) / math.sqrt(len(nll))
    return _Look(step, mean, fit_nll, error, copy.deepcopy(flow.state_dict()))
