"""
The published computation of the feature density, rebuilt to measure and to compare against.

The flow is a list of K times ActNorm, invertible 1x1 convolution and masked affine coupling; the
log-density is computed by walking that list backwards. As published, the convolution's matrix is
multiplied out of its factors P, L and U anew on every call, features pass through it as pictures
of one pixel, and the networks of a coupling see and make all features, of which the mask takes
its part. Written from the description of the method; no line of another project is in it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn, Tensor

from ros_ood_monitor.training.flows.published import (
    PLULinear,
    ShiftScaleCoupling,
    Standardizing,
)


class PublishedActNorm(nn.Module):
    """Scale and shift from latent to features; its inverse leads to the density."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(1, features))
        self.t = nn.Parameter(torch.zeros(1, features))
        self.seen = False

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features on the way to the latent, and the log-determinant."""
        if not self.seen:
            self.s.data = torch.log(x.std(dim=0, keepdim=True) + 1e-6)
            self.t.data = x.mean(dim=0, keepdim=True)
            self.seen = True
        return (x - self.t) * torch.exp(-self.s), -self.s.sum()


class PublishedConvolution(nn.Module):
    """An invertible 1x1 convolution with weights P L U."""

    def __init__(self, features: int) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(features, features))
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer('permutation', permutation)
        self.register_buffer('sign', torch.sign(torch.diagonal(upper)))
        self.register_buffer('eye', torch.eye(features))
        self.lower = nn.Parameter(lower)
        self.log_s = nn.Parameter(torch.log(torch.abs(torch.diagonal(upper))))
        self.upper = nn.Parameter(torch.triu(upper, 1))

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed features, and the log-determinant."""
        lower = torch.tril(self.lower, -1) + self.eye
        upper = torch.triu(self.upper, 1) + torch.diag(self.sign * torch.exp(self.log_s))
        weight = self.permutation @ lower @ upper  # (D, D), O(D^3) on every call
        picture = x[:, :, None, None]  # (N, D, 1, 1)
        mixed = nn.functional.conv2d(picture, weight[:, :, None, None])  # (N, D, 1, 1)
        return mixed[:, :, 0, 0], self.log_s.sum()


class PublishedCoupling(nn.Module):
    """A masked affine coupling with two networks D to D to D."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        width = len(mask)
        self.register_buffer('mask', mask)
        self.s, self.t = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )
        for net in (self.s, self.t):
            nn.init.zeros_(net[2].weight)
            nn.init.zeros_(net[2].bias)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coupled features, and the log-determinant (N,)."""
        kept = self.mask * x
        scale, shift = self.s(kept), self.t(kept)
        moved = (1 - self.mask) * (x - shift) * torch.exp(-scale)
        return kept + moved, -((1 - self.mask) * scale).sum(dim=1)


class PublishedFlow(nn.Module):
    """The whole density, over a standard normal that is not trained."""

    def __init__(self, features: int, steps: int = 10) -> None:
        super().__init__()
        self.features = features
        mask = torch.tensor([1.0 if k % 2 == 0 else 0.0 for k in range(features)])
        layers: list[nn.Module] = []
        for _ in range(steps):
            layers += [
                PublishedActNorm(features),
                PublishedConvolution(features),
                PublishedCoupling(mask),
            ]
        self.layers = nn.ModuleList(layers)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density (N,), in nats."""
        total = torch.zeros(len(x), dtype=x.dtype)
        for layer in reversed(self.layers):
            x, log_det = layer.inverse(x)
            total = total + log_det
        normal = -0.5 * self.features * math.log(2 * math.pi) - 0.5 * x.square().sum(dim=1)
        return total + normal


def copy_into(published: PublishedFlow, flow: Any) -> None:
    """Give our flow (`fde_paper`) the published one's parameters."""
    ours = list(flow._transform._transforms)
    with torch.no_grad():
        for theirs, mine in zip(reversed(published.layers), ours, strict=True):
            if isinstance(theirs, PublishedActNorm) and isinstance(mine, Standardizing):
                mine.log_std.copy_(theirs.s[0])
                mine.mean.copy_(theirs.t[0])
                mine.initialized.fill_(theirs.seen)
            elif isinstance(theirs, PublishedConvolution) and isinstance(mine, PLULinear):
                mine.order.copy_(theirs.permutation.argmax(dim=1))
                mine.sign.copy_(theirs.sign)
                mine.log_diagonal.copy_(theirs.log_s)
                mine.lower.copy_(theirs.lower)
                mine.upper.copy_(theirs.upper)
            elif isinstance(theirs, PublishedCoupling) and isinstance(mine, ShiftScaleCoupling):
                net, seen, made = (
                    mine.transform_net,
                    mine.identity_features,
                    mine.transform_features,
                )
                for name, whole in (('shift', theirs.t), ('scale', theirs.s)):
                    first, last = getattr(net, f'{name}_initial'), getattr(net, f'{name}_final')
                    first.weight.copy_(whole[0].weight[:, seen])
                    first.bias.copy_(whole[0].bias)
                    last.weight.copy_(whole[2].weight[made])
                    last.bias.copy_(whole[2].bias[made])
            else:
                msg = f'steps differ: {type(theirs).__name__} and {type(mine).__name__}'
                raise TypeError(msg)
