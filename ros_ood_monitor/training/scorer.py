"""The scorer: one detector per tap, and the sum of their standardised scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.folded import Detector
from ros_ood_monitor.training.normalization import Normalization

__all__ = ['Scorer']


class Scorer(nn.Module):
    """
    Tapped features to raw_score: the sum over taps of the standardised score.

    ``raw_score = sum_t (score_t(g_t(f_t)) - mean_t) / std_t``, where g normalises the length. Each
    detector's constant and mean are added in float64, so that only their (small) sum meets
    float32.

    Parameters
    ----------
    detectors : sequence of Detector
        One per tap, in float64.
    means, stds : sequence of float
        Of the held-out scores of every tap.
    normalizations : sequence of Normalization, optional
        One per tap; ``l2`` by default.

    Raises
    ------
    TrainingError
        If there is not one normalisation per tap.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        means: Sequence[float],
        stds: Sequence[float],
        normalizations: Sequence[Normalization] | None = None,
    ) -> None:
        super().__init__()
        self.detectors = nn.ModuleList(detectors)
        self.offsets = [
            detector.constant - mean for detector, mean in zip(detectors, means, strict=True)
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
        for tap, detector in enumerate(self._each()):
            normalized = self.normalizations[tap].in_graph(features[tap])  # (N, channels)
            energy = detector.energy(normalized)  # (N,)
            z = (energy + self.offsets[tap]) * (1.0 / self.stds[tap])
            total = z if total is None else total + z
        assert total is not None
        return total

    def _each(self) -> Iterator[Detector]:
        for detector in self.detectors:
            assert isinstance(detector, Detector)
            yield detector
