"""What the sequences that a training held out say of false alerts per hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration import calibrate_rate, RateCalibration
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.settings.train_settings import TrainSettings

__all__ = ['HeldOutRate', 'held_out_rates']


@dataclass(frozen=True)
class HeldOutRate:
    """
    The operating point of a precision, and what is known of its rate; ``str`` says it.

    Parameters
    ----------
    point : OperatingPoint
        For the rate where that is established, else for a share of frames as before.
    found : RateCalibration or None
        What was measured; None where the rate is not established.
    why : str
        Why the rate is not established; empty where it is.

    """

    point: OperatingPoint
    found: RateCalibration | None = None
    why: str = ''

    def __str__(self) -> str:
        return f'not established: {self.why}' if self.why else str(self.point.rate)

    def card(self) -> dict[str, Any]:
        """Return what the manifest tells, plain values."""
        return {
            'established': self.point.rate_established,
            'statement': str(self),
            **({} if self.found is None else self.found.card()),
        }


def held_out_rates(
    deployed: Mapping[str, Deployed],
    table: FeatureTable,
    split: Split,
    dataset: Dataset,
    settings: TrainSettings,
) -> dict[str, HeldOutRate]:
    """
    Set the alert of every precision for the rate that was asked for, where the data supports it.

    Parameters
    ----------
    deployed : mapping of str to Deployed
        What is shipped.
    table : FeatureTable
        All frames.
    split : Split
        Its calibration frames are what is judged on.
    dataset : Dataset
        Where they come from.
    settings : TrainSettings
        With ``false_alerts_per_hour``.

    Returns
    -------
    dict of str to HeldOutRate
        By precision.

    """
    problem = _problem(table, split, dataset, settings)
    return {
        precision: HeldOutRate(one.calibration.operating_point, why=problem)
        if problem
        else _rate(one, table, split, dataset, settings)
        for precision, one in deployed.items()
    }


def _problem(table: FeatureTable, split: Split, dataset: Dataset, settings: TrainSettings) -> str:
    if split.rule != 'sequence':
        return (
            'held-out frames lie between fitted ones; it takes whole sequences (--split sequence)'
        )
    if not np.isfinite(table.stamp[split.calibration]).all():
        return 'held-out frames have no stamps'
    if settings.near_duplicates > 0.0:
        return 'near-duplicates were left out, and the alert logic would miss them'
    if not dataset.has_one_camera:
        return 'bags hold several cameras, which an alert logic watches one by one'
    return ''


def _rate(
    one: Deployed, table: FeatureTable, split: Split, dataset: Dataset, settings: TrainSettings
) -> HeldOutRate:
    point = one.calibration.operating_point
    assert settings.false_alerts_per_hour is not None  # the caller's
    sequence, stamp = table.sequence[split.calibration], table.stamp[split.calibration]
    streams = [
        ScoreStream(dataset.sequences[k], '', stamp[sequence == k], one.raw_score[sequence == k])
        for k in np.unique(sequence)
    ]
    try:
        found = calibrate_rate(
            streams,
            one.calibration,
            per_hour=settings.false_alerts_per_hour,
            seed=settings.seed,
        )
    except CalibrationError as error:
        return HeldOutRate(point, why=str(error).replace(', or pass --extrapolate', ''))
    if not found.point.rate_established:
        asked = f'{settings.false_alerts_per_hour:g} false alerts per hour are not supported'
        return HeldOutRate(point, why=f'{asked}: {found.bound}')
    return HeldOutRate(found.point, found)
