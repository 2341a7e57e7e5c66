"""
Virtual-logit matching: the residual outside of a plane against what the classifier recognises.

``score = alpha * residual(x) - logsumexp(W x + b)`` of features x *before* any normalisation, for
the tap in front of a linear classifier. The residual is the distance to the plane of the principal
components around ``o = -pinv(W) b``, where all logits are 0; alpha makes its mean that of the
largest logit. What a frame has of none of the known classes and outside of the plane is strange.
The labels are those the backbone came with: nobody has to give any.

The paper takes alpha and a fixed number of components from the training set, which there is far
larger than the features are wide. Here frames are fewer, the plane holds nearly all of every
fitted one, and their residual is too small: alpha comes from held-out frames, and the plane holds
95 % of the variance as those of the other detectors do.

References
----------
Wang, Li, Feng, Zhang (2022), ViM: out-of-distribution with virtual-logit matching,
arXiv:2203.10807 (equations 4 to 8).

"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap, Classifier
from ros_ood_monitor.training.detectors.components import (
    Components,
    Plane,
    principal_components,
)
from ros_ood_monitor.training.detectors.fitted import Fitted
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.rows import chunks, Rows
from ros_ood_monitor.training.settings.densities import VIM

__all__ = ['Vim', 'fit', 'vim_classifier']

_DEVIATION: Final = 1.0  # nats: logits of unlike frames differ by that and more
_SMALLEST_RESIDUAL: Final = 1e-6  # of the largest logit


class Vim(Detector):
    """
    The residual's logit less the energy of the classifier's.

    Parameters
    ----------
    components : Components
        That span the plane, around the place where all logits are 0.
    classifier : Classifier
        Behind the features.
    alpha : float
        Logits per unit of the residual.

    """

    def __init__(self, components: Components, classifier: Classifier, alpha: float) -> None:
        super().__init__(0.0, _DEVIATION)
        self.plane = Plane(components)
        self.register_buffer('weight', torch.from_numpy(classifier.weight.T.copy()))  # (D, K)
        self.register_buffer('bias', torch.from_numpy(classifier.bias.copy()))  # (K,)
        self.alpha = alpha

    def residual(self, features: Tensor) -> Tensor:
        """Return the distance to the plane, (N,)."""
        squared: Tensor = self.plane(features)[1]  # (N,)
        return squared.sqrt()

    def logits(self, features: Tensor) -> Tensor:
        """Return what the classifier says, (N, K)."""
        return features @ self.get_buffer('weight') + self.get_buffer('bias')

    def energy(self, features: Tensor) -> Tensor:
        """Return the score; see `Detector.energy`."""
        logits = self.logits(features)  # (N, K)
        # the largest one apart, in plain operations: exp of a logit may overflow
        largest = logits.amax(dim=1)  # (N,)
        known = largest + (logits - largest[:, None]).exp().sum(dim=1).log()  # (N,)
        return self.alpha * self.residual(features) - known


def fit(features: Rows, held_out: Rows, classifier: Classifier) -> Fitted:
    """
    Take the plane of the fitted frames, and match its residual to logits on held-out ones.

    Parameters
    ----------
    features : Rows
        Features as the backbone gives them, (n, D).
    held_out : Rows
        The same of frames that the plane does not know, (m, D).
    classifier : Classifier
        Behind the features.

    Returns
    -------
    Fitted
        With the numbers of components and of classes, and alpha.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, a feature is not finite, or the classifier takes
        features of another width.

    """
    width = features[np.arange(1)].shape[1]
    if classifier.weight.shape[1] != width:
        msg = (
            f'classifier does not fit the features: expected {classifier.weight.shape[1]} '
            f'channels, got {width}; take another density or tap'
        )
        raise TrainingError(msg)
    origin = -np.linalg.pinv(classifier.weight) @ classifier.bias  # (D,)
    plain = Vim(principal_components(features, around=origin), classifier, 1.0)
    residual, largest = 0.0, 0.0
    with torch.no_grad():
        for chunk in chunks(held_out):
            rows = torch.from_numpy(chunk).double()
            residual += float(plain.residual(rows).sum())
            largest += float(plain.logits(rows).amax(dim=1).abs().sum())
    plain.alpha = largest / max(residual, _SMALLEST_RESIDUAL * largest, 1e-12)
    facts = {
        'components': len(plain.plane.get_buffer('directions')),
        'classes': len(classifier.bias),
        'alpha': round(plain.alpha, 4),
    }
    return Fitted(plain, facts)


def vim_classifier(
    density: str, backbone: Backbone, taps: Sequence[BackboneTap]
) -> Classifier | None:
    """
    Return the classifier behind the last tap, if the density asked for needs it.

    Parameters
    ----------
    density : str
        The detectors asked for.
    backbone : Backbone
        The network.
    taps : sequence of BackboneTap
        What is scored of it.

    Returns
    -------
    Classifier or None
        None for every density but ``vim``.

    Raises
    ------
    TrainingError
        If the backbone's classifier is not known, or the tap in front of it is not scored.

    """
    if density != VIM:
        return None
    if backbone.classifier is None:
        msg = (
            f'density {density!r} needs a classifier: expected weights with one, such as those '
            f'of the EfficientNet-Lites, got backbone {backbone.name!r}; take another --density'
        )
        raise TrainingError(msg)
    if taps[-1] != backbone.taps[-1]:
        msg = (
            f'density {density!r} needs the tap in front of the classifier: expected '
            f'{backbone.taps[-1].name!r} among the taps, got {taps[-1].name!r} as the deepest; '
            'add it to --taps'
        )
        raise TrainingError(msg)
    return backbone.classifier
