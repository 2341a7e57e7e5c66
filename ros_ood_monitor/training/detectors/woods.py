"""
WOODS: a head that tells wild frames from normal ones, with few normal frames on its wild side.

Wild frames are what a robot recorded with nobody looking: mostly normal, some of them not. A
linear function of the features of all taps, its *logit*, is fitted so that as few wild frames as
possible have one under 0, subject to ``mean sigmoid(logit of normal frames) <= alpha``. The
constrained problem is solved by augmented Lagrangian, from the balanced logistic regression
shifted onto the constraint; each inner problem by L-BFGS on all frames at once. All of it is in
float64 and without chance.

The function is fitted to features whitened by each tap's Gaussian (Ledoit and Wolf's shrinkage) of
the normal frames, and folded: how normal recordings differ from each other then costs weight, and
is not taken for what makes a frame strange.

How much weights cost is `DECAY`, unless another of `DECAYS` has more held-out wild frames over the
threshold of held-out normal ones, by more than chance. That threshold becomes the logit 0.

A hidden layer was tried and lost: with some hundred frames it learns these by heart.

References
----------
Katz-Samuels, Nakhleh, Nowak, Li (2022), Training OOD detectors in their natural habitats,
arXiv:2202.03299 (with sigmoid losses; there is no classifier here, so no constraint on one).

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ros_ood_monitor.calibration import conformal_threshold, frames_needed
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.detectors.gaussian import estimate

__all__ = ['DECAY', 'DECAYS', 'TapLogit', 'WoodsFit', 'WoodsParts', 'boundary', 'fit_woods']

DECAY: Final = 3e-4
"""Cost of the squared length of the weights; more makes rare wild frames not worth finding."""

DECAYS: Final = (DECAY, 1e-4, 1e-3)
"""Costs that are tried."""

_ROUNDS: Final = 10  # of the multiplier
_ITERATIONS: Final = 30  # of L-BFGS in each
_FIRST_ITERATIONS: Final = 100
_FIRST_PENALTY: Final = 4.0
_PENALTY_FACTOR: Final = 2.0  # where the constraint is not met
_SLACK: Final = 1e-3  # share of frames by which it may be missed
_WIDEST_SHIFT: Final = 60.0
_BISECTIONS: Final = 60

_Array: TypeAlias = npt.NDArray[np.float64]


class WoodsParts(NamedTuple):
    """
    Normalised features of all taps side by side, each (k, D) float64.

    Parameters
    ----------
    known, held_out : ndarray
        Normal frames to fit to, and others that choose.
    wild, wild_held_out : ndarray
        Frames of which nothing is known, likewise.

    """

    known: _Array
    held_out: _Array
    wild: _Array
    wild_held_out: _Array


class TapLogit(Detector):
    """
    The share of one tap in the logit: an affine function of its features.

    Parameters
    ----------
    mean : ndarray of shape (channels,), float64
        Taken off first, so that large sums do not cancel in float32.
    weight : ndarray of shape (channels,), float64
        Of each channel.
    constant : float
        Added.

    """

    def __init__(self, mean: _Array, weight: _Array, constant: float) -> None:
        super().__init__(constant, 1.0)
        self.register_buffer('mean', torch.from_numpy(mean))
        self.register_buffer('weight', torch.from_numpy(weight))

    def energy(self, features: Tensor) -> Tensor:
        """Return the weighted sum; see `Detector.energy`."""
        centred = features - self.get_buffer('mean')  # (N, channels)
        return (centred * self.get_buffer('weight')).sum(dim=1)  # (N,)


@dataclass(frozen=True, eq=False)
class WoodsFit:
    """
    The head, and how it was found.

    Parameters
    ----------
    detectors : list of TapLogit
        One per tap; the logit is their sum.
    decay : float
        One of `DECAYS`.
    known_share : float
        Mean sigmoid of the fitted normal frames' logits, before the boundary was moved.
    shift : float
        The logit at which held-out frames put the boundary, before that became 0.

    """

    detectors: list[TapLogit]
    decay: float
    known_share: float
    shift: float


def boundary(scores: _Array, alpha: float) -> float:
    """
    Return the threshold of held-out frames, or their highest score where they are too few for it.

    Parameters
    ----------
    scores : ndarray of shape (n,), float64
        Of held-out normal frames.
    alpha : float
        Share of normal frames allowed over it.

    Returns
    -------
    float
        A score.

    """
    if len(scores) < frames_needed(alpha):
        return float(scores.max())
    return conformal_threshold(scores, alpha)


def fit_woods(parts: WoodsParts, widths: Sequence[int], *, alpha: float) -> WoodsFit:
    """
    Fit the head.

    Parameters
    ----------
    parts : WoodsParts
        Features of normal and of wild frames.
    widths : sequence of int
        Channels of each tap; their sum is D.
    alpha : float
        Share of normal frames allowed on the wild side, in (0, 1).

    Returns
    -------
    WoodsFit
        Equal arguments give an equal one on one machine.

    Raises
    ------
    TrainingError
        If a feature or a weight is not finite, or there are fewer than two normal frames.

    """
    for name, rows in parts._asdict().items():
        if not np.isfinite(rows).all():
            msg = f'features of {name.replace("_", " ")} frames are not finite; check the pictures'
            raise TrainingError(msg)
    edges = np.cumsum(widths)[:-1]
    taps = np.split(parts.known.astype(np.float32), edges, axis=1)
    gaussians = [estimate(part) for part in taps]
    mean = np.concatenate([gaussian.mean for gaussian in gaussians])
    # every tap has an equal share in the mean squared length of normal frames, about 1 in all
    roots = [
        one.whitening()[0] / math.sqrt(width * len(widths))
        for one, width in zip(gaussians, widths, strict=True)
    ]

    def whitened(rows: _Array) -> _Array:
        pieces = np.split(rows - mean, edges, axis=1)
        return np.concatenate([z @ a.T for z, a in zip(pieces, roots, strict=True)], axis=1)

    known, wild = (torch.from_numpy(whitened(rows)) for rows in (parts.known, parts.wild))
    best: tuple[int, WoodsFit] | None = None
    for decay in DECAYS:
        weight, bias, share = _solve(known, wild, alpha, decay)
        normal, other = (
            whitened(rows) @ weight + bias for rows in (parts.held_out, parts.wild_held_out)
        )
        limit = boundary(normal, alpha)
        found = int((other > limit).sum())
        # what chance moves a count by is its square root
        if best is None or found > best[0] + math.sqrt(max(best[0], 1)):
            constant = (bias - limit) / len(widths)
            detectors = [
                TapLogit(one.mean, root.T @ part, constant)
                for one, root, part in zip(gaussians, roots, np.split(weight, edges), strict=True)
            ]
            best = found, WoodsFit(detectors, decay, share, limit)
    assert best is not None
    return best[1]


def _solve(known: Tensor, wild: Tensor, alpha: float, decay: float) -> tuple[_Array, float, float]:
    """Return weight (D,) and bias for whitened features, and normal frames' mean sigmoid."""
    weight = torch.zeros(known.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def excess() -> Tensor:
        share: Tensor = torch.sigmoid(known @ weight + bias).mean() - alpha
        return share

    def cost() -> Tensor:
        return decay * (weight * weight).sum()

    def balanced() -> Tensor:
        softplus = torch.nn.functional.softplus
        apart = softplus(known @ weight + bias).mean() + softplus(-(wild @ weight + bias)).mean()
        return apart + cost()

    _minimise(balanced, [weight, bias], _FIRST_ITERATIONS)
    with torch.no_grad():
        bias.fill_(_onto_constraint((known @ weight).numpy(), alpha))
    multiplier, penalty = 0.0, _FIRST_PENALTY
    for _ in range(_ROUNDS):

        def lagrangian(multiplier: float = multiplier, penalty: float = penalty) -> Tensor:
            over = excess()
            active = multiplier * over + 0.5 * penalty * over * over
            rest = torch.full_like(over, -(multiplier**2) / (2.0 * penalty))
            constraint = torch.where(multiplier + penalty * over >= 0.0, active, rest)
            return torch.sigmoid(-(wild @ weight + bias)).mean() + constraint + cost()

        _minimise(lagrangian, [weight, bias], _ITERATIONS)
        with torch.no_grad():
            over = float(excess())
        multiplier = max(0.0, multiplier + penalty * over)
        if over > _SLACK:
            penalty *= _PENALTY_FACTOR
    found = weight.detach().numpy().copy()
    if not (np.isfinite(found).all() and math.isfinite(over)):
        msg = f'weights of woods are not finite at decay {decay:g}; train with another density'
        raise TrainingError(msg)
    return found, float(bias.detach()), over + alpha


def _minimise(loss: Callable[[], Tensor], values: list[Tensor], iterations: int) -> None:
    optimiser = torch.optim.LBFGS(
        values, max_iter=iterations, history_size=10, line_search_fn='strong_wolfe'
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def _onto_constraint(logits: _Array, alpha: float) -> float:
    """Return the bias with which the mean sigmoid of some logits is alpha."""
    middle = float(np.median(logits))
    low, high = -_WIDEST_SHIFT, _WIDEST_SHIFT
    for _ in range(_BISECTIONS):
        bias = 0.5 * (low + high)
        with np.errstate(over='ignore'):
            share = float((1.0 / (1.0 + np.exp(middle - logits - bias))).mean())
        low, high = (low, bias) if share > alpha else (bias, high)
    return low - middle
