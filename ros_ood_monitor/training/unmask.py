"""
Unleashing Mask: a classifier forgets the atypical samples that it memorised.

A classifier is at its best at telling out-of-distribution pictures apart before it has learnt the
last, atypical training samples by heart. Some of its weights are dropped at random: the typical
samples survive that, the atypical ones do not, and the mean loss of the masked network is the
level c that the loss had at that stage. Then ``|loss - c| + c`` is minimised: a batch that the
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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.masks import (
    call_masked,
    draw_scores,
    fold_masks,
    kept_shares,
    top_masks,
)

__all__ = [
    'Constraint',
    'Forgetting',
    'Labelled',
    'Schedule',
    'constrain',
    'flooded',
    'forget',
    'losses',
    'train_classifier',
]

_CHUNK = 256  # rows at a time where no gradient is kept
OnPass: TypeAlias = Callable[[int, float], object]


@dataclass(frozen=True, eq=False)
class Labelled:
    """
    What a classifier is trained on.

    Parameters
    ----------
    inputs : ndarray of shape (n, ...)
        What the network takes: pixels, maps or features.
    labels : ndarray of shape (n,), int64
        Class of each, from 0.

    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Schedule:
    """
    Passes of gradient descent with Nesterov's momentum, the rate falling as a cosine to 0.

    Parameters
    ----------
    passes, batch_size : int
        Over all samples; samples a step.
    learning_rate, weight_decay : float
        At the start; of all that is learnt.

    """

    passes: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-4


@dataclass(frozen=True, eq=False)
class Constraint:
    """
    The loss of a network of which some weights were dropped at random.

    Parameters
    ----------
    keep : float
        Share of the weights that were kept.
    losses : ndarray of shape (n,), float64
        Cross-entropy of every sample, in nats: the atypical ones have the largest.
    plain : ndarray of shape (n,), float64
        The same with all weights.
    classes : int
        Number of classes.

    """

    keep: float
    losses: npt.NDArray[np.float64]
    plain: npt.NDArray[np.float64]
    classes: int

    @property
    def level(self) -> float:
        """Return c, the mean loss, in nats."""
        return float(self.losses.mean())

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


def flooded(loss: Tensor, level: float) -> Tensor:
    """
    Return ``|loss - c| + c``, whose gradient points upwards below c.

    Parameters
    ----------
    loss : Tensor
        Mean of a batch.
    level : float
        c, in the same unit.

    Returns
    -------
    Tensor
        Never below c.

    """
    return (loss - level).abs() + level


def train_classifier(
    network: nn.Module,
    data: Labelled,
    schedule: Schedule,
    *,
    seed: int,
    on_pass: OnPass | None = None,
) -> None:
    """
    Train all that a network has to learn, by cross-entropy.

    Parameters
    ----------
    network : nn.Module
        Inputs to logits; changed in place, and left in evaluation mode.
    data : Labelled
        What it is trained on.
    schedule : Schedule
        How.
    seed : int
        Order of the samples.
    on_pass : callable, optional
        Called with the number of passes made, and the mean loss of the last one.

    Raises
    ------
    TrainingError
        If the loss is not finite.

    """
    network.train()
    learnt = [weight for weight in network.parameters() if weight.requires_grad]
    _descend(network, learnt, data, schedule, seed=seed, level=None, on_pass=on_pass)
    network.eval()


def losses(
    forward: Callable[[Tensor], Tensor], data: Labelled
) -> tuple[npt.NDArray[np.float64], float]:
    """
    Return the cross-entropy of every sample, and the share that is classified rightly.

    Parameters
    ----------
    forward : callable
        Inputs to logits.
    data : Labelled
        At least one sample.

    Returns
    -------
    ndarray of shape (n,), float64
        In nats.
    float
        Accuracy, in [0, 1].

    """
    found, right = [], 0
    with torch.no_grad():
        for start in range(0, len(data), _CHUNK):
            labels = torch.from_numpy(data.labels[start : start + _CHUNK])
            logits = forward(torch.from_numpy(data.inputs[start : start + _CHUNK]))  # (n, K)
            loss = cross_entropy(logits, labels, reduction='none')  # (n,)
            found.append(loss.double().numpy() + 0.0)  # no -0
            right += int((logits.argmax(dim=1) == labels).sum())
    return np.concatenate(found), right / len(data)


def constrain(network: nn.Module, data: Labelled, *, keep: float, seed: int) -> Constraint:
    """
    Drop weights at random, and look at the loss.

    Parameters
    ----------
    network : nn.Module
        A trained classifier in evaluation mode; it stays as it is.
    data : Labelled
        What it was trained on.
    keep : float
        Share of the weights of each layer that are kept.
    seed : int
        Of the mask.

    Returns
    -------
    Constraint
        Not checked yet.

    """
    masks = top_masks(draw_scores(network, seed=seed), keep)
    masked, _ = losses(lambda inputs: call_masked(network, masks, inputs), data)
    plain, _ = losses(network, data)
    with torch.no_grad():
        classes = network(torch.from_numpy(data.inputs[:1])).shape[1]
    return Constraint(keep, masked, plain, classes)


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
        rising = _descend(network, learnt, data, schedule, seed=seed, level=level, on_pass=on_pass)
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

    rising = _descend(
        forward, list(scores.values()), data, schedule, seed=seed, level=level, on_pass=on_pass
    )
    with torch.no_grad():
        masks = top_masks(scores, popup_keep)
    fold_masks(network, masks)
    for weight in trainable:
        weight.requires_grad_(True)
    return Forgetting(rising, kept_shares(masks))


def _descend(
    forward: Callable[[Tensor], Tensor],
    learnt: Sequence[Tensor],
    data: Labelled,
    schedule: Schedule,
    *,
    seed: int,
    level: float | None,
    on_pass: OnPass | None,
) -> float:
    """Minimise the loss, or its distance to a level; return the share of steps it rose at."""
    optimizer = torch.optim.SGD(
        learnt,
        lr=schedule.learning_rate,
        momentum=0.9,
        weight_decay=schedule.weight_decay,
        nesterov=True,
    )
    size = schedule.batch_size
    starts = list(range(0, len(data), size))
    if level is not None and len(starts) > 1 and 2 * (len(data) - starts[-1]) < size:
        starts.pop()  # a few samples alone would be pushed to c: they go with those before them
    total = schedule.passes * len(starts)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    made = risen = 0
    for number, order in enumerate(_passes(len(data), schedule.passes, seed), 1):
        seen = []
        for rows in np.split(order, starts[1:]):
            optimizer.zero_grad(set_to_none=True)
            logits = forward(torch.from_numpy(data.inputs[rows]))  # (batch, K)
            loss = cross_entropy(logits, torch.from_numpy(data.labels[rows]))
            value = float(loss.detach())
            if not math.isfinite(value):
                msg = (
                    f'loss of the classifier is not finite at step {made}: got {value}; lower '
                    f'the learning rate (now {schedule.learning_rate:g})'
                )
                raise TrainingError(msg)
            (loss if level is None else flooded(loss, level)).backward()
            optimizer.step()
            falling.step()
            made += 1
            risen += level is not None and value < level
            seen.append(value)
        if on_pass is not None:
            on_pass(number, float(np.mean(seen)))
    return risen / made


def _passes(count: int, passes: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the order of the samples of every pass."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        yield torch.randperm(count, generator=generator).numpy()
