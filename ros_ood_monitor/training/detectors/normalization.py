"""
What is done to the length of features before a density sees them.

``l2`` keeps the direction alone; ``radial`` divides by a power of the length, ``z / |z|^beta``, so
that beta = 0 leaves features as they are and beta = 1 is ``l2``; ``none`` leaves them as they are.

References
----------
Janiak, Binkowski, Kajdanowicz (2025), A Geometry-Based View of Mahalanobis OOD Detection,
arXiv:2510.15202 (the radial map).
Mueller, Hein (2025), Mahalanobis++, arXiv:2505.18032 (``l2``).

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.gaussian import fit_gaussian
from ros_ood_monitor.training.settings.densities import check_normalization

__all__ = ['BETAS', 'BetaChoice', 'Normalization', 'choose_beta', 'radial_nll']

BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Powers to choose from; at 1 the map loses the length and is no longer one to one."""

_SHORTEST = 1e-12
"""Length below which a row is taken as zero."""


@dataclass(frozen=True)
class Normalization:
    """
    A map of features that keeps their direction.

    Parameters
    ----------
    kind : {'l2', 'radial', 'none'}
        What is done to the length.
    beta : float
        Power of the length, in [0, 1]; used by ``radial`` only.

    Raises
    ------
    TrainingError
        If the kind is unknown, or beta is outside [0, 1].

    """

    kind: str = 'l2'
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_normalization(self.kind)
        if not 0.0 <= self.beta <= 1.0:
            msg = f'beta of the radial normalisation must be in [0, 1], got {self.beta}'
            raise TrainingError(msg)

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """
        Normalise every row, as the scorer does.

        Parameters
        ----------
        features : ndarray of shape (n, D), float32
            Features; rows of zeros stay zero.

        Returns
        -------
        ndarray of shape (n, D), float32
            Features of another length.

        """
        if self.kind == 'none':
            return features
        length = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _SHORTEST)  # (n, 1)
        if self.kind == 'radial':
            length = length**self.beta
        normalized: npt.NDArray[np.float32] = (features / length).astype(np.float32)
        return normalized

    def in_graph(self, features: Tensor) -> Tensor:
        """
        Normalise every row with operations that export.

        Parameters
        ----------
        features : Tensor of shape (N, D)
            Features.

        Returns
        -------
        Tensor of shape (N, D)
            Features of another length.

        """
        if self.kind == 'none':
            return features
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True)  # (N, 1)
        length = length.clamp_min(_SHORTEST)
        if self.kind == 'radial':
            length = torch.pow(length, self.beta)
        normalized: Tensor = features / length  # (N, D)
        return normalized

    def card(self) -> str | dict[str, str | float]:
        """Return the fact for the manifest: the kind, with beta where it has one."""
        return {'kind': 'radial', 'beta': self.beta} if self.kind == 'radial' else self.kind


@dataclass(frozen=True)
class BetaChoice:
    """
    How a power was chosen.

    Parameters
    ----------
    normalization : Normalization
        Radial, with the power of the lowest nll.
    curve : list of (float, float)
        Each power with its mean held-out nll of the features as they came, in nats.

    """

    normalization: Normalization
    curve: list[tuple[float, float]]


def choose_beta(
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
    *,
    betas: Sequence[float] = BETAS,
) -> BetaChoice:
    """
    Choose the power of the radial map on in-distribution features alone.

    Each power turns the Gaussian behind it into a density of the features *as they came*; the one
    under which held-out features are likeliest is taken. The map's own log-determinant makes the
    nlls comparable: without it the power that shrinks the features most would always win.

    Parameters
    ----------
    fit : ndarray of shape (n, D), float32
        Features as the backbone gives them, to fit to.
    held_out : ndarray of shape (m, D), float32
        Features as the backbone gives them, to judge by.
    betas : sequence of float
        Powers in [0, 1).

    Returns
    -------
    BetaChoice
        The choice, and the nll of every power.

    Raises
    ------
    TrainingError
        If a power is outside [0, 1), or a nll is not finite.

    """
    curve = [(float(beta), radial_nll(fit, held_out, beta)) for beta in betas]
    best = min(curve, key=lambda pair: pair[1])
    return BetaChoice(Normalization('radial', best[0]), curve)


def radial_nll(
    fit: npt.NDArray[np.float32], held_out: npt.NDArray[np.float32], beta: float
) -> float:
    """
    Return the mean held-out nll of features as they came, by a Gaussian behind the radial map.

    With r the length of z, the map scales the D - 1 directions across z by ``r^-beta`` and the
    one along z by ``(1 - beta) r^-beta``; so ``nll(z) = nll(z / r^beta) - log(1 - beta) +
    beta D log r``.

    Parameters
    ----------
    fit, held_out : ndarray of shape (n, D) and (m, D), float32
        Features as the backbone gives them.
    beta : float
        Power in [0, 1).

    Returns
    -------
    float
        In nats.

    Raises
    ------
    TrainingError
        If the power is outside [0, 1), or the nll is not finite.

    """
    if not 0.0 <= beta < 1.0:
        msg = f'beta must be in [0, 1) for features to have a density, got {beta}'
        raise TrainingError(msg)
    radial = Normalization('radial', float(beta))
    density, _ = fit_gaussian(radial(fit))
    length = np.linalg.norm(held_out.astype(np.float64), axis=1)  # (m,)
    log_det = math.log1p(-beta) - beta * held_out.shape[1] * np.log(np.maximum(length, _SHORTEST))
    nll = density.nll(torch.from_numpy(radial(held_out)).double()).numpy() - log_det  # (m,)
    mean = float(nll.mean())
    if not math.isfinite(mean):
        msg = f'held-out nll at beta = {beta} is not finite: got {mean}; check the pictures'
        raise TrainingError(msg)
    return mean
