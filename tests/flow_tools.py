"""Features and flows for tests of the trainer; torch must be installed."""

from __future__ import annotations

from typing import Any

import torch


def features(count: int, width: int, seed: int = 0) -> Any:
    """Return correlated features of unit length, (count, width) float32."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    raw = torch.randn(count, width, generator=generator) @ mix + 2.0
    return raw / raw.norm(dim=1, keepdim=True)


def perturb(flow: Any, size: float = 0.1, seed: int = 1) -> Any:
    """Move every parameter a little, so that nothing is at its special initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return flow
