"""What was fitted to taps, what it gives alone and summed up, and the scorer made of all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.scorer import CellScorer, Scorer
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.flows.fit_record import FitRecord
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.rows import chunks, Rows, Table, TapRows

__all__ = ['FittedTap', 'deviation_of_sum', 'make_scorer', 'scores', 'sum_over_taps']


@dataclass(frozen=True, eq=False)
class FittedTap:
    """
    A tap, and what was fitted to it.

    Parameters
    ----------
    tap : BackboneTap
        The stage.
    normalization : Normalization
        What its detector sees.
    detector : Detector
        In float64, folded.
    record : FitRecord
        How it was fitted.
    standard : tuple of float
        Mean and deviation of the held-out scores.
    seconds : float
        How long that took.

    """

    tap: BackboneTap
    normalization: Normalization
    detector: Detector
    record: FitRecord
    standard: tuple[float, float]
    seconds: float


def sum_over_taps(
    fitted: Sequence[FittedTap],
    features: Table,
    rows: npt.NDArray[np.int64],
    columns: Callable[[BackboneTap], slice],
) -> npt.NDArray[np.float64]:
    """
    Return the sums over taps of the standardised scores.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    features : Table
        Of all taps side by side, not normalised.
    rows : ndarray of shape (n,), int64
        Which frames.
    columns : callable
        Where a tap's features lie: `FeatureTable.columns`.

    Returns
    -------
    ndarray of shape (n,), float64
        raw_score without a map's share.

    """
    total = np.zeros(len(rows))
    for row in fitted:
        read = TapRows(features, rows, columns(row.tap), row.normalization)
        total += (scores(row.detector, read) - row.standard[0]) / row.standard[1]
    return total


def deviation_of_sum(fitted: Sequence[FittedTap], table: FeatureTable, split: Split) -> float:
    """
    Return what the sum over taps of validation frames varies by.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    table : FeatureTable
        All frames.
    split : Split
        Says which are validation frames.

    Returns
    -------
    float
        At least 1, which is what a single tap varies by.

    """
    total = sum_over_taps(fitted, table, split.validation, table.columns)
    return max(float(total.std()), 1.0)


def make_scorer(
    fitted: Sequence[FittedTap], cells: CellScorer | None = None, local_weight: float = 1.0
) -> Scorer:
    """
    Return the sum over taps of the standardised scores.

    Parameters
    ----------
    fitted : sequence of FittedTap
        All taps.
    cells : CellScorer, optional
        Of the map.
    local_weight : float
        What its local score counts, in standard deviations of a tap; 0: nothing.

    Returns
    -------
    Scorer
        In float64.

    """
    means, stds = zip(*(row.standard for row in fitted), strict=True)
    return Scorer(
        [row.detector for row in fitted],
        means,
        stds,
        [row.normalization for row in fitted],
        cells,
        local_weight,
    )


def scores(detector: Detector, features: Rows) -> npt.NDArray[np.float64]:
    """
    Return the scores of normalised features.

    Parameters
    ----------
    detector : Detector
        In float64.
    features : Rows
        As its normalisation gives them, (n, D).

    Returns
    -------
    ndarray of shape (n,), float64
        Higher = more anomalous.

    """
    with torch.no_grad():
        parts = [
            detector.score(torch.from_numpy(chunk).double()).numpy() for chunk in chunks(features)
        ]
    return np.concatenate(parts)
