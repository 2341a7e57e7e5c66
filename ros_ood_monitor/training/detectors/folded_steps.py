"""What a folded flow is made of: a leading map, couplings, and what stands between them."""

from __future__ import annotations

import torch
from torch import nn, Tensor

__all__ = [
    'SCALE_CLAMP',
    'SCALE_SLOPE',
    'FoldedCoupling',
    'FoldedTwinCoupling',
    'Rearrange',
    'Reorder',
]

SCALE_CLAMP = 3.0
"""The clamp c of a coupling's log-scale."""

SCALE_SLOPE = 0.636 * SCALE_CLAMP
"""The log-scale is ``SCALE_SLOPE * atan(u / c)``: 0.636 is 2 / pi, so it stays in (-c, c)."""


def soft_clamp(raw: Tensor) -> Tensor:
    """Return log-scales between -c and c for what a network says."""
    return SCALE_SLOPE * torch.atan(raw / SCALE_CLAMP)


def soft_clamp_slope(raw: Tensor) -> Tensor:
    """Return the derivative of `soft_clamp`."""
    return (SCALE_SLOPE / SCALE_CLAMP) / (1.0 + (raw / SCALE_CLAMP).square())


class Reorder(nn.Module):
    """
    A leading permutation with scale and shift: one Gather, Mul and Add.

    Parameters
    ----------
    index : Tensor of shape (D,), int64
        Source of each output.
    scale, shift : Tensor of shape (D,)
        Applied after the permutation.

    """

    def __init__(self, index: Tensor, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer('index', index)
        self.register_buffer('scale', scale)
        self.register_buffer('shift', shift)

    def forward(self, features: Tensor) -> Tensor:
        """Return the reordered features (N, D)."""
        index, scale, shift = (self.get_buffer(name) for name in ('index', 'scale', 'shift'))
        return features.index_select(1, index) * scale + shift


class Rearrange(nn.Module):
    """
    Brings two parts into the order in which the next coupling reads and writes them.

    Parameters
    ----------
    sizes : tuple of int
        Widths of the two parts afterwards.
    swap : bool
        Whether the parts only change places, which costs nothing.
    linear : nn.Linear, optional
        Dense map of the joined parts.
    index : Tensor of shape (D,), int64, optional
        Permutation of the joined parts.

    """

    def __init__(
        self,
        sizes: tuple[int, int],
        *,
        swap: bool = False,
        linear: nn.Linear | None = None,
        index: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.swap = swap
        self.linear = linear
        self.register_buffer('index', index)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the identity part and the part to transform."""
        if self.swap:
            return second, first
        if self.linear is None and self.index is None:
            return first, second
        joined = torch.cat((first, second), dim=1)  # (N, D)
        if self.linear is not None:
            joined = self.linear(joined)
        else:
            joined = joined.index_select(1, self.get_buffer('index'))
        first, second = joined.split(self.sizes, dim=1)  # (N, a), (N, D - a)
        return first, second


class FoldedCoupling(nn.Module):
    """
    An affine coupling whose neighbouring affine maps live in its network's outer layers.

    Parameters
    ----------
    net : nn.Module
        Maps the identity part (N, a) to shifts and raw log-scales (N, 2b).
    width : int
        Width b of the transformed part.
    soft_clamp : bool
        True where the log-scale is the softly clamped one, False for nflows' own
        ``log(sigmoid(raw) + 1e-3)``.

    """

    def __init__(self, net: nn.Module, width: int, *, soft_clamp: bool) -> None:
        super().__init__()
        self.net = net
        self.width = width
        self.soft_clamp = soft_clamp

    def forward(self, identity: Tensor, transformed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new transformed part and its log-scales, both (N, b)."""
        shift, raw = self.net(identity).split((self.width, self.width), dim=1)
        if self.soft_clamp:
            log_scale = SCALE_SLOPE * torch.atan(raw)
            return transformed * log_scale.exp() + shift, log_scale
        scale = torch.sigmoid(raw) + 1e-3
        return transformed * scale + shift, scale.log()


class FoldedTwinCoupling(nn.Module):
    """
    A coupling ``(x + shift) * exp(log_scale) + offset`` with a network for each of the two.

    Parameters
    ----------
    hidden : nn.Linear
        First layers of both networks, one above the other: (N, a) to (N, 2h).
    shift, log_scale : nn.Linear
        Last layers, (N, h) to (N, b).
    clamp : bool
        True where the log-scale is softly clamped, False where it is used as it comes.
    offset : Tensor of shape (b,), optional
        What a neighbouring map left to be added at the end.

    """

    def __init__(
        self,
        hidden: nn.Linear,
        shift: nn.Linear,
        log_scale: nn.Linear,
        *,
        clamp: bool,
        offset: Tensor | None,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.shift = shift
        self.log_scale = log_scale
        self.clamp = clamp
        self.register_buffer('offset', offset)

    def forward(self, identity: Tensor, transformed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new transformed part and its log-scales, both (N, b)."""
        hidden = torch.relu(self.hidden(identity))  # (N, 2h)
        for_shift, for_scale = hidden.chunk(2, dim=1)  # (N, h), (N, h)
        log_scale = self.log_scale(for_scale)  # (N, b)
        if self.clamp:
            log_scale = SCALE_SLOPE * torch.atan(log_scale)
        outputs = (transformed + self.shift(for_shift)) * log_scale.exp()
        if self.offset is not None:
            outputs = outputs + self.get_buffer('offset')
        return outputs, log_scale
