"""
Affine maps with a known structure, for folding: what permutes and scales, and what mixes.

A gauge says how the logical value at each position follows from the stored one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ['Dense', 'Gauge', 'Monomial', 'identity', 'in_gauge', 'mapped', 'permuted', 'scaled']


@dataclass
class Monomial:
    """``y = scale * x[index] + shift``."""

    index: Tensor
    scale: Tensor
    shift: Tensor


@dataclass
class Dense:
    """``y = weight @ x + shift``."""

    weight: Tensor
    shift: Tensor


@dataclass
class Gauge:
    """``logical = scale * stored + shift``, per position."""

    scale: Tensor
    shift: Tensor


def identity(features: int) -> Monomial:
    """Return the map that changes nothing."""
    ones = torch.ones(features, dtype=torch.float64)
    return Monomial(torch.arange(features), ones, torch.zeros_like(ones))


def scaled(affine: Monomial | Dense, scale: Tensor, shift: Tensor) -> Monomial | Dense:
    """Return the map followed by a scale and a shift per position."""
    if isinstance(affine, Monomial):
        return Monomial(affine.index, scale * affine.scale, scale * affine.shift + shift)
    return Dense(scale[:, None] * affine.weight, scale * affine.shift + shift)


def permuted(affine: Monomial | Dense, order: Tensor) -> Monomial | Dense:
    """Return the map followed by a permutation."""
    if isinstance(affine, Monomial):
        return Monomial(affine.index[order], affine.scale[order], affine.shift[order])
    return Dense(affine.weight[order], affine.shift[order])


def mapped(affine: Monomial | Dense, weight: Tensor, bias: Tensor) -> Dense:
    """Return the map followed by a dense one."""
    if isinstance(affine, Monomial):
        columns = torch.empty_like(weight)
        columns[:, affine.index] = weight * affine.scale
        return Dense(columns, weight @ affine.shift + bias)
    return Dense(weight @ affine.weight, weight @ affine.shift + bias)


def in_gauge(affine: Monomial | Dense, gauge: Gauge) -> Monomial | Dense:
    """Return the map with stored instead of logical outputs."""
    return scaled(affine, 1.0 / gauge.scale, -gauge.shift / gauge.scale)
