"""
Scores of a classifier: how unlike its classes something is, higher for stranger.

=================  ==========================================================================
name               score
=================  ==========================================================================
``msp``            minus the largest probability (Hendrycks and Gimpel)
``energy``         minus the log of the sum of exponentials of the logits (Liu et al.)
``odin``           the first one, at temperature 1000, of an input that was moved by 0.0014 in
                   the direction that makes it larger (Liang et al.); takes a gradient
``mahalanobis``    distance to the nearest class mean of the features, of one covariance that
                   is shrunk (Lee et al., without their perturbation)
=================  ==========================================================================

They are what a method that changes a classifier is judged by; what runs on a robot is in
`ros_ood_monitor.training.detectors`.

References
----------
Hendrycks, Gimpel (2017), arXiv:1610.02136. Liu, Wang, Owens, Li (2020), arXiv:2010.03759.
Liang, Li, Srikant (2018), arXiv:1706.02690. Lee, Lee, Lee, Shin (2018), arXiv:1807.03888.

"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ros_ood_monitor.training.detectors.gaussian import estimate

__all__ = ['CLASS_SCORES', 'ClassMeans', 'class_scores', 'energy', 'msp', 'odin']

CLASS_SCORES: Final = ('msp', 'energy', 'odin', 'mahalanobis')
"""Their names."""

_TEMPERATURE: Final = 1000.0
_STEP: Final = 0.0014  # in the unit of the network's normalised inputs

Scores = npt.NDArray[np.float64]


def msp(logits: Tensor) -> Scores:
    """Return minus the largest probability, (n,), of logits (n, K)."""
    return -logits.double().softmax(dim=1).amax(dim=1).numpy()


def energy(logits: Tensor) -> Scores:
    """Return minus the log of the sum of exponentials, (n,), of logits (n, K)."""
    return -logits.double().logsumexp(dim=1).numpy()


def odin(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Scores:
    """
    Return minus the largest probability of inputs that were moved towards it.

    Parameters
    ----------
    forward : callable
        Inputs to logits.
    inputs : Tensor of shape (n, ...), float32
        Normalised.

    Returns
    -------
    ndarray of shape (n,), float64
        All near -1 / K, as the temperature makes them; only their order means something.

    """
    moved = inputs.clone().requires_grad_()
    logits = forward(moved) / _TEMPERATURE  # (n, K)
    loss = cross_entropy(logits, logits.argmax(dim=1), reduction='sum')
    (gradient,) = torch.autograd.grad(loss, moved)
    with torch.no_grad():
        return msp(forward(inputs - _STEP * gradient.sign()) / _TEMPERATURE)


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """
    Class means in whitened features.

    Parameters
    ----------
    means : ndarray of shape (K, D), float64
        One a class.
    weight : ndarray of shape (D, D), float64
        Whitens what is left of features without their class mean.

    """

    means: Scores
    weight: Scores

    @classmethod
    def fit(cls, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> ClassMeans:
        """
        Estimate means and covariance.

        Parameters
        ----------
        features : ndarray of shape (n, D), float32
            Of the training samples.
        labels : ndarray of shape (n,), int64
            Their classes, each of 0 to K - 1 at least once.

        Returns
        -------
        ClassMeans
            With Ledoit and Wolf's shrinkage.

        """
        means = np.stack(
            [features[labels == k].mean(axis=0) for k in range(int(labels.max()) + 1)]
        ).astype(np.float64)  # (K, D)
        weight, _, _ = estimate((features - means[labels]).astype(np.float32)).whitening()
        return cls(means, weight)

    def __call__(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return the squared distance to the nearest mean, (n,), of features (n, D)."""
        white = features.astype(np.float64) @ self.weight.T  # (n, D)
        centres = self.means @ self.weight.T  # (K, D)
        squared = (
            np.square(white).sum(axis=1)[:, None]
            + np.square(centres).sum(axis=1)
            - 2.0 * white @ centres.T
        )  # (n, K)
        nearest: Scores = squared.min(axis=1)
        return nearest


def class_scores(
    inputs: Tensor,
    features_of: Callable[[Tensor], Tensor],
    logits_of: Callable[[Tensor], Tensor],
    means: ClassMeans,
    *,
    batch: int = 64,
) -> dict[str, Scores]:
    """
    Return every score of some inputs.

    Parameters
    ----------
    inputs : Tensor of shape (n, ...), float32
        Normalised.
    features_of : callable
        Inputs to penultimate features (n, D).
    logits_of : callable
        Those features to logits (n, K).
    means : ClassMeans
        Of the training samples.
    batch : int, default 64
        Inputs at a time.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        By name, in the order of `CLASS_SCORES`.

    """
    found: dict[str, list[Scores]] = {name: [] for name in CLASS_SCORES}
    for chunk in inputs.split(batch):
        with torch.no_grad():
            features = features_of(chunk)
            logits = logits_of(features)
        found['msp'].append(msp(logits))
        found['energy'].append(energy(logits))
        found['odin'].append(odin(lambda moved: logits_of(features_of(moved)), chunk))
        found['mahalanobis'].append(means(features.numpy()))
    return {name: np.concatenate(values) for name, values in found.items()}
