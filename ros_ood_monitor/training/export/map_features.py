"""
Features of the cells of a map: one or several stages, averaged locally, on the finest grid.

Each stage is averaged over 3 x 3 cells (fewer at the border, nothing is padded), brought to the
finest of the grids, and they are put side by side. The average makes a cell aware of its
neighbours and takes the noise of single positions away.

References
----------
Cohen, Hoshen (2020), Sub-image anomaly detection with deep pyramid correspondences,
arXiv:2005.02357 (several stages on one grid).
Roth et al. (2022), Towards total recall in industrial anomaly detection, arXiv:2106.08265 (the
local average, and stages of the middle of the network).

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor
from torch.nn import functional

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbone_names import check_taps
from ros_ood_monitor.training.backbones import Backbone, BackboneTap
from ros_ood_monitor.training.detectors.normalization import Normalization

__all__ = [
    'AUTO',
    'CELLS_A_FRAME',
    'MapFeatures',
    'MapPlan',
    'map_taps',
    'normalize_cells',
    'places',
]

AUTO: Final = 'auto'
CELLS_A_FRAME: Final = 32
"""Cells of a map whose features are kept of each frame."""

NONE: Final = 'none'
_REDUCTIONS: Final = (8, 16)  # input px per cell that `auto` looks for
_MEAN_OVER: Final = 3  # cells a side


@dataclass(frozen=True)
class MapPlan:
    """
    What a map's features are made of.

    Parameters
    ----------
    taps : tuple of BackboneTap
        Stages, in the order of the network.
    sizes : tuple of (int, int)
        Height and width of each one's grid.
    tiles : tuple of int
        Rows and columns of parts that a frame is seen in.
    sampled : int
        Cells of each frame whose features are kept to be fitted to, at most.

    """

    taps: tuple[BackboneTap, ...]
    sizes: tuple[tuple[int, int], ...]
    tiles: tuple[int, int] = (1, 1)
    sampled: int = CELLS_A_FRAME

    @property
    def grid(self) -> tuple[int, int]:
        """Return height and width of the finest grid, which the map has."""
        return max(height for height, _ in self.sizes), max(width for _, width in self.sizes)

    @property
    def channels(self) -> int:
        """Return the width of a cell's features."""
        return sum(tap.channels for tap in self.taps)

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Return maps of ones as the backbone gives them, (count, gh, gw, channels) each."""
        return tuple(
            torch.ones((count, *size, tap.channels))
            for tap, size in zip(self.taps, self.sizes, strict=True)
        )


class MapFeatures(nn.Module):
    """
    From maps to the features of cells.

    Parameters
    ----------
    plan : MapPlan
        What they are made of.

    """

    def __init__(self, plan: MapPlan) -> None:
        super().__init__()
        self.plan = plan
        self.eval()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """
        Return the features of every cell.

        Parameters
        ----------
        maps : sequence of Tensor
            One (N, gh, gw, channels) per tap, each on its own grid.

        Returns
        -------
        Tensor of shape (N, gh, gw, channels of all taps)
            On the finest grid.

        """
        grids = []
        for size, grid in zip(self.plan.sizes, maps, strict=True):
            x = grid.permute(0, 3, 1, 2)  # (N, channels, gh, gw)
            x = functional.avg_pool2d(
                x, _MEAN_OVER, stride=1, padding=_MEAN_OVER // 2, count_include_pad=False
            )
            if size != self.plan.grid:
                x = functional.interpolate(
                    x, size=self.plan.grid, mode='bilinear', align_corners=False
                )
            grids.append(x)
        together = grids[0] if len(grids) == 1 else torch.cat(grids, dim=1)
        return together.permute(0, 2, 3, 1)  # (N, gh, gw, channels)


def map_taps(
    names: Sequence[str] | str, backbone: Backbone, scored: Sequence[BackboneTap]
) -> tuple[BackboneTap, ...]:
    """
    Return the stages that a map is made of.

    Parameters
    ----------
    names : sequence of str, or 'auto' or 'none'
        ``auto`` takes the deepest stages of 8 and of 16 input px per cell, or those nearest to it,
        none of them deeper than what is scored anyway.
    backbone : Backbone
        The network.
    scored : sequence of BackboneTap
        Its taps whose pooled features are scored.

    Returns
    -------
    tuple of BackboneTap
        In the order of the network; none for ``none``.

    Raises
    ------
    TrainingError
        If a name is unknown, or the tap has no map.

    """
    given = [names] if isinstance(names, str) else list(names)
    if given == [NONE]:
        return ()
    if given == [AUTO]:
        last = max(backbone.taps.index(tap) for tap in scored)
        having = [tap for tap in backbone.taps[: last + 1] if backbone.has_map(tap)]
        if not having:
            return ()
        chosen = [
            # the last one of those that are equally near is the deepest
            min(reversed(having), key=lambda tap: abs(math.log2(tap.reduction / wanted)))
            for wanted in _REDUCTIONS
        ]
        return backbone.in_order(chosen)
    wanted = check_taps(given, [tap.name for tap in backbone.taps])
    taps = tuple(tap for tap in backbone.taps if tap.name in wanted)
    flat = [tap.name for tap in taps if not backbone.has_map(tap)]
    if flat:
        msg = (
            f'tap has no map: {flat[0]!r} of backbone {backbone.name!r} is pooled already; '
            'take another --map, or none'
        )
        raise TrainingError(msg)
    return taps


def normalize_cells(
    cells: Tensor, taps: Sequence[BackboneTap], normalizations: Sequence[Normalization]
) -> Tensor:
    """
    Normalise every stage's part of every cell, with operations that export.

    Parameters
    ----------
    cells : Tensor of shape (n, channels)
        Features of cells.
    taps : sequence of BackboneTap
        Their stages.
    normalizations : sequence of Normalization
        One per stage.

    Returns
    -------
    Tensor of shape (n, channels)
        Features of other lengths.

    """
    parts = cells.split([tap.channels for tap in taps], dim=1)
    each = [one.in_graph(part) for one, part in zip(normalizations, parts, strict=True)]
    return each[0] if len(each) == 1 else torch.cat(each, dim=1)


def places(digest: npt.NDArray[np.uint8] | bytes, cells: int, count: int) -> npt.NDArray[np.int64]:
    """
    Return which cells of a frame are sampled: by its picture alone, so that order is no matter.

    Parameters
    ----------
    digest : bytes, or ndarray of uint8
        SHA-256 of the network input.
    cells : int
        Cells of the map.
    count : int
        How many of them.

    Returns
    -------
    ndarray of shape (count,), int64
        Ascending, each once.

    """
    rng = np.random.default_rng(int.from_bytes(bytes(digest)[:8], 'little'))
    return np.sort(rng.permutation(cells)[:count])
