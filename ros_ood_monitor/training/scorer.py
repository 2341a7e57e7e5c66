"""The scorer: one density per tap, and the sum of their standardised nlls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn, Tensor

from ros_ood_monitor.training.folded import Density

__all__ = ['Scorer']


class Scorer(nn.Module):
    """
    Tapped features to raw_score: the sum over taps of the standardised nll.

    ``raw_score = sum_t (nll_t(f_t / |f_t|) - mean_t) / std_t``. Each density's constant and mean
    are added in float64, so that only their (small) sum meets float32.

    Parameters
    ----------
    densities : sequence of Density
        One per tap, in float64.
    means, stds : sequence of float
        Of the held-out nll of every tap, in nats.

    """

    def __init__(
        self, densities: Sequence[Density], means: Sequence[float], stds: Sequence[float]
    ) -> None:
        super().__init__()
        self.densities = nn.ModuleList(densities)
        self.offsets = [
            density.constant - mean for density, mean in zip(densities, means, strict=True)
        ]
        self.stds = list(stds)
        self.eval().requires_grad_(False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """
        Return the scores.

        Parameters
        ----------
        features : sequence of Tensor
            One (N, channels) per tap, not normalised.

        Returns
        -------
        Tensor of shape (N,)
            In standard deviations, summed over taps.

        """
        total: Tensor | None = None
        for tap, density in enumerate(self._each()):
            raw = features[tap]
            length = torch.linalg.vector_norm(raw, dim=1, keepdim=True)  # (N, 1)
            energy = density.energy(raw / length.clamp_min(1e-12))  # (N,)
            z = (energy + self.offsets[tap]) * (1.0 / self.stds[tap])
            total = z if total is None else total + z
        assert total is not None
        return total

    def _each(self) -> Iterator[Density]:
        for density in self.densities:
            assert isinstance(density, Density)
            yield density
