"""Cells that a detector is fitted to: an even sample, and how their features are normalised."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.detectors.normalization import choose_beta, Normalization
from ros_ood_monitor.training.export.map_features import MapPlan
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.settings.train_settings import TrainSettings

__all__ = ['cell_normalizations', 'sampled_cells']

_MOST_BYTES: Final = 64 * 2**20


def sampled_cells(
    table: FeatureTable, index: npt.NDArray[np.int64], plan: MapPlan, most: int
) -> npt.NDArray[np.float32]:
    """
    Return features of cells, evenly from all of some frames.

    Parameters
    ----------
    table : FeatureTable
        With some cells of each frame.
    index : ndarray of shape (n,), int64
        Its rows.
    plan : MapPlan
        What the cells are made of.
    most : int
        Cells that are returned at most; fewer where they are wide, so that they fit into 64 MiB.

    Returns
    -------
    ndarray of shape (m, channels), float32
        Frame after frame.

    """
    width = plan.channels
    most = max(2, min(most, _MOST_BYTES // (4 * width)))
    frames = index[spread(len(index), most)]
    cells = table.cells(frames).reshape(len(frames), -1, width)  # (k, cells, channels)
    a_frame = max(1, min(cells.shape[1], most // len(frames)))
    chosen = cells[:, spread(cells.shape[1], a_frame)]  # (k, a_frame, channels)
    return np.ascontiguousarray(chosen.reshape(-1, width))


def cell_normalizations(
    settings: TrainSettings,
    plan: MapPlan,
    fit: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32],
) -> list[Normalization]:
    """Return what normalises the features of each tap, as the settings say."""
    if settings.normalization != 'radial':
        return [Normalization(settings.normalization)] * len(plan.taps)
    ends = np.cumsum([tap.channels for tap in plan.taps])[:-1]
    return [
        choose_beta(ours, theirs).normalization
        for ours, theirs in zip(
            np.split(fit, ends, axis=1), np.split(held_out, ends, axis=1), strict=True
        )
    ]
