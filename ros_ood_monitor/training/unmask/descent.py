"""A classifier of labelled samples, trained by gradient descent: down, or towards a level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

from ros_ood_monitor.errors import TrainingError

__all__ = ['Labelled', 'OnPass', 'Schedule', 'descend', 'flooded', 'losses', 'train_classifier']

_CHUNK = 256  # rows at a time where no gradient is kept
OnPass: TypeAlias = Callable[[int, float], object]
"""Called with the number of passes made, and the mean loss of the last one."""


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
    descend(network, learnt, data, schedule, seed=seed, level=None, on_pass=on_pass)
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


def descend(
    forward: Callable[[Tensor], Tensor],
    learnt: Sequence[Tensor],
    data: Labelled,
    schedule: Schedule,
    *,
    seed: int,
    level: float | None,
    on_pass: OnPass | None,
) -> float:
    """
    Minimise the loss, or its distance to a level.

    Parameters
    ----------
    forward : callable
        Inputs to logits.
    learnt : sequence of Tensor
        What is changed.
    data : Labelled
        What it is trained on.
    schedule : Schedule
        How.
    seed : int
        Order of the samples.
    level : float or None
        In nats; None: down.
    on_pass : callable or None
        Called with the number of passes made, and the mean loss of the last one.

    Returns
    -------
    float
        Share of the steps at which the loss was below the level, and rose.

    Raises
    ------
    TrainingError
        If the loss is not finite.

    """
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
