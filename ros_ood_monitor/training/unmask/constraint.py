"""The level that a loss is brought back to: that of networks with some weights dropped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.unmask.descent import Labelled, losses
from ros_ood_monitor.training.unmask.masks import call_masked, draw_scores, top_masks

__all__ = ['Constraint', 'constrain']


@dataclass(frozen=True, eq=False)
class Constraint:
    """
    The loss of a network of which some weights were dropped at random, several times.

    Parameters
    ----------
    keep : float
        Share of the weights that were kept.
    levels : tuple of float
        Mean cross-entropy of all samples under each mask, in nats.
    losses : ndarray of shape (n,), float64
        Cross-entropy of every sample, the median over the masks: the atypical ones have the
        largest.
    plain : ndarray of shape (n,), float64
        The same with all weights.
    classes : int
        Number of classes.

    """

    keep: float
    levels: tuple[float, ...]
    losses: npt.NDArray[np.float64]
    plain: npt.NDArray[np.float64]
    classes: int

    @property
    def level(self) -> float:
        """Return c, the median of the masks' levels, in nats."""
        return float(np.median(self.levels))

    @property
    def atypical(self) -> npt.NDArray[np.int64]:
        """
        Return the samples that stand out, the largest loss first.

        Their class has less than half of the probability: so have all that are misclassified.
        """
        order = np.argsort(-self.losses, kind='stable')
        return order[self.losses[order] > math.log(2.0)]

    def check(self) -> None:
        """
        Refuse a level that would have to be reached by guessing.

        Raises
        ------
        TrainingError
            If it is not below that of equal probabilities for all classes.

        """
        chance = math.log(self.classes)
        if not self.level < chance:  # also where it is NaN
            msg = (
                f'loss constraint is no better than guessing: expected less than {chance:.3f} '
                f'nats of {self.classes} classes, got {self.level:.3f}; set unmask.keep (now '
                f'{self.keep:g}) nearer to 1, or take another unmask.part'
            )
            raise TrainingError(msg)


def constrain(
    network: nn.Module, data: Labelled, *, keep: float, masks: int, seed: int
) -> Constraint:
    """
    Drop weights at random, several times, and look at the loss.

    Parameters
    ----------
    network : nn.Module
        A trained classifier in evaluation mode; it stays as it is.
    data : Labelled
        What it was trained on.
    keep : float
        Share of the weights of each layer that are kept.
    masks : int
        How many are drawn, each a forward pass over the data.
    seed : int
        Of the first mask; each of the others has the next one.

    Returns
    -------
    Constraint
        Not checked yet.

    """
    found = []
    for number in range(masks):
        mask = top_masks(draw_scores(network, seed=seed + number), keep)
        found.append(losses(partial(call_masked, network, mask), data)[0])
    plain, _ = losses(network, data)
    with torch.no_grad():
        classes = network(torch.from_numpy(data.inputs[:1])).shape[1]
    levels = tuple(float(one.mean()) for one in found)
    return Constraint(keep, levels, np.median(found, axis=0), plain, classes)
