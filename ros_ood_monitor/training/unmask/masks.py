"""
Masks over the weights of a network: drawn at random, or learnt, and folded into the weights.

A mask keeps a share of the weights of every convolution, linear layer and projection of an
attention, by the size of a score for each weight; biases, embeddings and normalisation layers
have none. A masked network is the same network with other numbers: folded, it has the same graph,
and costs the same.

References
----------
Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari (2020), What's hidden in a randomly weighted
neural network?, arXiv:1911.13299 (scores that are learnt straight through their top k).

"""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError

__all__ = ['Masks', 'call_masked', 'draw_scores', 'fold_masks', 'kept_shares', 'top_masks']

Masks = Mapping[str, Tensor]
"""By the name of the weight, of its shape: 1 where it is kept and 0 where it is not."""

_WEIGHTS: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    *((kind, ('weight',)) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)),
    # that of its output is a linear layer
    (
        nn.MultiheadAttention,
        ('in_proj_weight', 'q_proj_weight', 'k_proj_weight', 'v_proj_weight'),
    ),
)
"""What has a mask of each kind of layer."""


class _Top(torch.autograd.Function):
    """1 for the k largest of some scores and 0 for the others; its gradient is passed through."""

    @staticmethod
    def forward(_: Any, scores: Tensor, keep: float) -> Tensor:
        mask = torch.zeros_like(scores)
        kept = scores.flatten().topk(_count(scores.numel(), keep)).indices
        mask.flatten()[kept] = 1.0
        return mask

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return gradients[0], None


def _count(weights: int, keep: float) -> int:
    return max(1, math.floor(keep * weights + 0.5))


def masked_weights(network: nn.Module) -> dict[str, Tensor]:
    """
    Return the weights that masks are of.

    Parameters
    ----------
    network : nn.Module
        Any.

    Returns
    -------
    dict of str to Tensor
        By name.

    Raises
    ------
    TrainingError
        If it has no convolution and no linear layer.

    """
    found = {
        f'{name}.{own}' if name else own: getattr(layer, own)
        for name, layer in network.named_modules()
        for kind, weights in _WEIGHTS
        if isinstance(layer, kind)
        for own in weights
        if getattr(layer, own) is not None  # an attention has one for all, or three
    } | {
        # a linear layer whose weight alone was read, as Swin's attention does: tracing leaves a
        # module without a type
        f'{name}.weight': layer.weight
        for name, layer in network.named_modules()
        if type(layer) is nn.Module
        and isinstance(weight := getattr(layer, 'weight', None), nn.Parameter)
        and weight.ndim > 1
    }
    if not found:
        msg = 'network has no weights to mask: expected a convolution or a linear layer, got none'
        raise TrainingError(msg)
    return found


def draw_scores(network: nn.Module, *, seed: int) -> dict[str, Tensor]:
    """
    Draw a score for every weight, as weights themselves are drawn (Kaiming's uniform).

    Parameters
    ----------
    network : nn.Module
        Any with weights to mask.
    seed : int
        Of the drawing.

    Returns
    -------
    dict of str to Tensor
        By the name of the weight.

    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: nn.init.kaiming_uniform_(
            torch.empty_like(weight, device='cpu'), a=math.sqrt(5.0), generator=generator
        ).to(weight.device)
        for name, weight in masked_weights(network).items()
    }


def top_masks(scores: Mapping[str, Tensor], keep: float) -> dict[str, Tensor]:
    """
    Keep the weights of the largest scores, whatever their sign, layer by layer.

    Parameters
    ----------
    scores : mapping of str to Tensor
        From `draw_scores`, or learnt from there.
    keep : float
        Share of each layer's weights, in (0, 1].

    Returns
    -------
    dict of str to Tensor
        Masks; gradients pass straight through to the sizes of the scores.

    """
    return {name: _Top.apply(score.abs(), keep) for name, score in scores.items()}


def call_masked(network: nn.Module, masks: Masks, inputs: Tensor) -> Tensor:
    """
    Run a network with some of its weights at 0; it stays as it is.

    Parameters
    ----------
    network : nn.Module
        Whose weights the masks are of.
    masks : Masks
        From `top_masks`.
    inputs : Tensor
        Of the network.

    Returns
    -------
    Tensor
        What it gives.

    """
    weights = masked_weights(network)
    masked = {name: weights[name] * mask for name, mask in masks.items()}
    result: Tensor = torch.func.functional_call(network, masked, (inputs,))
    return result


def fold_masks(network: nn.Module, masks: Masks) -> None:
    """
    Set masked weights to 0, for good.

    Parameters
    ----------
    network : nn.Module
        Changed in place; it then gives what `call_masked` gave.
    masks : Masks
        From `top_masks`.

    """
    weights = masked_weights(network)
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)


def kept_shares(masks: Masks) -> dict[str, tuple[int, int]]:
    """
    Return how many weights of how many each mask keeps.

    Parameters
    ----------
    masks : Masks
        From `top_masks`.

    Returns
    -------
    dict of str to (int, int)
        By the name of the weight.

    """
    return {name: (int(mask.sum()), mask.numel()) for name, mask in masks.items()}
