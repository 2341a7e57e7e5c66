"""
Unleashing Mask: a classifier forgets the atypical samples that it memorised.

A classifier is at its best at telling out-of-distribution pictures apart before it has learnt the
last, atypical training samples by heart. Some of its weights are dropped at random: the typical
samples survive that, the atypical ones do not, and the mean loss of the masked network is the
level c that the loss had at that stage. As it hangs on what was dropped, several masks are drawn,
and c is the median of theirs. Then ``|loss - c| + c`` is minimised: a batch that the
network knows better than that is unlearnt (``um``). Or the weights stay as they are, and which of
them are dropped is learnt by the same loss (``umap``), so that nothing but a mask is added.

Unlike in the authors' code, layers that normalise keep their scales under a mask; and labels and
frames are all that is used, no auxiliary set chooses c.

References
----------
Zhu, Yu, Yao, Liu, Niu, Sugiyama, Han (2023), Unleashing Mask: explore the intrinsic
out-of-distribution detection capability, arXiv:2306.03715.
Ishida, Yamane, Sakai, Niu, Sugiyama (2020), Do we need zero training loss after achieving zero
training error?, arXiv:2002.08709 (the same loss with a level given by hand).

"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn, Tensor

from ros_ood_monitor.training.unmask.descent import descend, Labelled, OnPass, Schedule
from ros_ood_monitor.training.unmask.masks import (
    call_masked,
    draw_scores,
    fold_masks,
    kept_shares,
    top_masks,
)

__all__ = ['Forgetting', 'forget']


@dataclass(frozen=True, eq=False)
class Forgetting:
    """
    What came of it.

    Parameters
    ----------
    rising : float
        Share of the steps at which the loss was below the level, and rose.
    kept : dict of str to (int, int)
        Weights that the learnt mask keeps, of how many, by name; empty for ``um``.

    """

    rising: float
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)


def forget(
    network: nn.Module,
    data: Labelled,
    schedule: Schedule,
    *,
    level: float,
    seed: int,
    popup_keep: float | None = None,
    on_pass: OnPass | None = None,
) -> Forgetting:
    """
    Bring the loss of a trained classifier back to a level.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, and left in it; changed in place.
    data : Labelled
        What it was trained on.
    schedule : Schedule
        How.
    level : float
        c, in nats.
    seed : int
        Order of the samples, and the mask's first scores.
    popup_keep : float, optional
        Share of each layer's weights that a learnt mask keeps (``umap``); the others are 0
        afterwards, and these unchanged. Where it is not given, all weights are learnt (``um``).
    on_pass : callable, optional
        Called with the number of passes made, and the mean loss of the last one.

    Returns
    -------
    Forgetting
        How often the loss rose, and what the mask keeps.

    Raises
    ------
    TrainingError
        If the loss is not finite.

    """
    if popup_keep is None:
        network.train()
        learnt = [weight for weight in network.parameters() if weight.requires_grad]
        rising = descend(network, learnt, data, schedule, seed=seed, level=level, on_pass=on_pass)
        network.eval()
        return Forgetting(rising)
    scores = {
        name: score.requires_grad_() for name, score in draw_scores(network, seed=seed).items()
    }
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in trainable:
        weight.requires_grad_(False)

    def forward(inputs: Tensor) -> Tensor:
        return call_masked(network, top_masks(scores, popup_keep), inputs)

    rising = descend(
        forward, list(scores.values()), data, schedule, seed=seed, level=level, on_pass=on_pass
    )
    with torch.no_grad():
        masks = top_masks(scores, popup_keep)
    fold_masks(network, masks)
    for weight in trainable:
        weight.requires_grad_(True)
    return Forgetting(rising, kept_shares(masks))
