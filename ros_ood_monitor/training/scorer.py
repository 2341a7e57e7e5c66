"""The scorer: one density per tap, and the sum of their standardised nlls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.folded import Density
from ros_ood_monitor.training.normalization import Normalization

__all__ = ['Scorer']


class Scorer(nn.Module):
    """
    Tapped features to raw_score: the sum over taps of the standardised nll.

    ``raw_score = sum_t (nll_t(g_t(f_t)) - mean_t) / std_t``, where g normalises the length. Each
    density's constant and mean are added in float64, so that only their (small) sum meets float32.

    Parameters
    ----------
    densities : sequence of Density
        One per tap, in float64.
    means, stds : sequence of float
        Of the held-out nll of every tap, in nats.
    normalizations : sequence of Normalization, optional
        One per tap; ``l2`` by default.

    Raises
    ------
    TrainingError
        If there is not one normalisation per tap.

    """

    def __init__(
        self,
        densities: Sequence[Density],
        means: Sequence[float],
        stds: Sequence[float],
        normalizations: Sequence[Normalization] | None = None,
    ) -> None:
        super().__init__()
        self.densities = nn.ModuleList(densities)
        self.offsets = [
            density.constant - mean for density, mean in zip(densities, means, strict=True)
        ]
        self.stds = list(stds)
        self.normalizations = list(normalizations or [Normalization()] * len(self.stds))
        if len(self.normalizations) != len(self.stds):
            msg = (
                f'a scorer needs one normalisation per tap: expected {len(self.stds)}, '
                f'got {len(self.normalizations)}'
            )
            raise TrainingError(msg)
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
            normalized = self.normalizations[tap].in_graph(features[tap])  # (N, channels)
            energy = density.energy(normalized)  # (N,)
            z = (energy + self.offsets[tap]) * (1.0 / self.stds[tap])
            total = z if total is None else total + z
        assert total is not None
        return total

    def _each(self) -> Iterator[Density]:
        for density in self.densities:
            assert isinstance(density, Density)
            yield density
