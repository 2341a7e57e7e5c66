"""The scorer: one detector per tap, the sum of their standardised scores, and the map's cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import hashlib
import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.map_features import MapFeatures, MapPlan, normalize_cells

__all__ = ['HIGHEST_SHARE', 'CellScorer', 'Scorer', 'highest_mean']

HIGHEST_SHARE: Final = 0.01
"""Of a map's cells whose mean is its share in raw_score; at least one cell."""


def highest_count(cells: int) -> int:
    """Return how many cells' mean is the local score."""
    return max(1, math.ceil(HIGHEST_SHARE * cells))


def highest_mean(
    patch_score: npt.NDArray[np.float32], tiles: tuple[int, int] = (1, 1)
) -> npt.NDArray[np.float64]:
    """
    Return the local scores of maps: the mean of the highest cells.

    Parameters
    ----------
    patch_score : ndarray of shape (n, gh, gw), float32
        Maps.
    tiles : tuple of int
        Rows and columns of parts that a frame is seen in; the one with the highest mean counts.

    Returns
    -------
    ndarray of shape (n,), float64
        In the unit of the cells.

    """
    n, gh, gw = patch_score.shape
    rows, columns = tiles
    parts = patch_score.reshape(n, rows, gh // rows, columns, gw // columns).swapaxes(2, 3)
    cells = np.sort(parts.reshape(n, rows * columns, -1), axis=2)  # (n, tiles, cells of one)
    means = cells[..., -highest_count(cells.shape[2]) :].mean(axis=2, dtype=np.float64)
    highest: npt.NDArray[np.float64] = means.max(axis=1)
    return highest


class CellScorer(nn.Module):
    """
    Maps to the scores of their cells, each in deviations of held-out frames at its own place.

    ``patch_score = (score(cell) - mean(place)) / std(place)``, with one detector for all cells.

    Parameters
    ----------
    plan : MapPlan
        What the features are made of.
    normalizations : sequence of Normalization
        One per stage.
    detector : Detector
        In float64.
    mean, std : ndarray of shape (gh, gw), float64
        Of held-out scores by place.
    local : (float, float), or None
        Mean and deviation of the local scores of held-out frames, where they are a part of
        raw_score.

    """

    def __init__(
        self,
        plan: MapPlan,
        normalizations: Sequence[Normalization],
        detector: Detector,
        mean: npt.NDArray[np.float64],
        std: npt.NDArray[np.float64],
        local: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.features = MapFeatures(plan)
        self.normalizations = list(normalizations)
        self.detector = detector
        # the detector's constant is large beside what differs: only the sum meets float32
        self.register_buffer('offset', torch.from_numpy(detector.constant - mean))
        self.register_buffer('scale', torch.from_numpy(1.0 / std))
        self.local = local
        self.eval().requires_grad_(False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """
        Return the scores of all cells.

        Parameters
        ----------
        maps : sequence of Tensor
            One (N, gh, gw, channels) per stage, each on its own grid.

        Returns
        -------
        Tensor of shape (N, gh, gw)
            In standard deviations.

        """
        cells = self.features(maps)  # (N, gh, gw, channels)
        height, width = self.plan.grid
        rows = cells.reshape(-1, self.plan.channels)  # (N * gh * gw, channels)
        rows = normalize_cells(rows, self.plan.taps, self.normalizations)
        energy = self.detector.energy(rows).reshape(-1, height, width)  # (N, gh, gw)
        z: Tensor = (energy + self.get_buffer('offset')) * self.get_buffer('scale')
        return z

    def digest(self) -> str:
        """Return what tells this scorer from others: a digest of all that it computes with."""
        facts = [type(self.detector).__name__, *(str(one.card()) for one in self.normalizations)]
        digest = hashlib.sha256('\n'.join(facts).encode())
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def local_term(self, patch_score: Tensor, weight: float) -> Tensor:
        """Return the share of maps (N, gh, gw) in raw_score (N,)."""
        assert self.local is not None
        mean, std = self.local
        (height, width), (rows, columns) = self.plan.grid, self.plan.tiles
        count = height * width // (rows * columns)  # cells of a tile
        cells = patch_score.reshape(-1, count)  # (N * tiles, count) of tiles as wide as the map
        if columns > 1:
            parts = patch_score.reshape(-1, rows, height // rows, columns, width // columns)
            cells = parts.transpose(2, 3).reshape(-1, count)
        highest = cells.topk(highest_count(count), dim=1).values.mean(dim=1)  # (N * tiles,)
        if rows * columns > 1:
            highest = highest.reshape(-1, rows * columns).amax(dim=1)  # (N,)
        return (highest - mean) * (weight / std)


class Scorer(nn.Module):
    """
    Tapped features to raw_score: the sum over taps of the standardised score.

    ``raw_score = sum_t (score_t(g_t(f_t)) - mean_t) / std_t``, where g normalises the length. Each
    detector's constant and mean are added in float64, so that only their (small) sum meets
    float32. A map's local score is one more term, with a weight of its own.

    Parameters
    ----------
    detectors : sequence of Detector
        One per tap, in float64.
    means, stds : sequence of float
        Of the held-out scores of every tap.
    normalizations : sequence of Normalization, optional
        One per tap; ``l2`` by default.
    cells : CellScorer, optional
        Where there is a map.
    local_weight : float
        What a deviation of its local score counts; 0: nothing.

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
        cells: CellScorer | None = None,
        local_weight: float = 1.0,
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
        self.cells = cells
        self.local_weight = local_weight
        self.eval().requires_grad_(False)

    def forward(
        self, features: Sequence[Tensor], maps: Sequence[Tensor] = ()
    ) -> Tensor | tuple[Tensor, Tensor]:
        """
        Return the scores.

        Parameters
        ----------
        features : sequence of Tensor
            One (N, channels) per tap, not normalised.
        maps : sequence of Tensor
            One (N, gh, gw, channels) per stage of the map, where there is one.

        Returns
        -------
        Tensor of shape (N,)
            In standard deviations, summed over taps; where there is a map, a pair of it and the
            cells' scores (N, gh, gw).

        """
        total: Tensor | None = None
        for tap, detector in enumerate(self._each()):
            normalized = self.normalizations[tap].in_graph(features[tap])  # (N, channels)
            energy = detector.energy(normalized)  # (N,)
            z = (energy + self.offsets[tap]) * (1.0 / self.stds[tap])
            total = z if total is None else total + z
        assert total is not None
        if self.cells is None:
            return total
        patch_score = self.cells(maps)  # (N, gh, gw)
        if self.cells.local is not None and self.local_weight:
            total = total + self.cells.local_term(patch_score, self.local_weight)
        return total, patch_score

    def _each(self) -> Iterator[Detector]:
        for detector in self.detectors:
            assert isinstance(detector, Detector)
            yield detector
