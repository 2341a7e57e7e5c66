"""The alerts of a stream at an operating point, counted by the alert logic."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream, STALE_AFTER
from ros_ood_monitor.records import State

__all__ = ['LOGICS_ON_SCORES', 'Alerts', 'Count', 'count_episodes']

LOGICS_ON_SCORES: Final = ('consecutive', 'ewma')
"""Logics whose limit is one on raw_score; that of the others is 0 where nothing happens."""


class Alerts(NamedTuple):
    """Alerts of a stream: how many episodes, and the time watched that was in ALERT, in s."""

    episodes: int
    seconds: float


Count: TypeAlias = Callable[[ScoreStream, OperatingPoint], Alerts]
"""The alerts of a stream at an operating point."""


def count_episodes(held_out: npt.NDArray[np.float64]) -> Count:
    """
    Return what counts the alerts of a stream by running the alert logic over it.

    Parameters
    ----------
    held_out : ndarray of shape (n,), float64
        Scores of the bundle's calibration, ascending.

    Returns
    -------
    callable
        From a stream and an operating point to its alerts.

    """

    def count(stream: ScoreStream, point: OperatingPoint) -> Alerts:
        logic = make_logic(point, held_out, stale_after=STALE_AFTER)
        if point.logic in LOGICS_ON_SCORES and logic.limit >= max(
            _reach(stream, point), held_out.mean()
        ):
            return Alerts(0, 0.0)  # as the logic would find, step by step
        log = EpisodeLog(refractory=point.refractory)
        frames = zip(stream.raw_score.tolist(), stream.stamp.tolist(), strict=True)
        seconds = 0.0
        for (raw_score, stamp), step in zip(frames, [*stream.watched.tolist(), 0.0], strict=True):
            alert = logic.update(raw_score, stamp)
            log.note(alert, stamp)
            if alert.state is State.ALERT:
                seconds += step
        return Alerts(len(log.episodes), seconds)

    return count


def _reach(stream: ScoreStream, point: OperatingPoint) -> float:
    """Return a raw_score at or over which no limit of a logic on scores is exceeded."""
    frames = point.trigger_frames if point.logic == 'consecutive' else 1
    if len(stream.raw_score) < frames:
        return -math.inf
    runs = np.lib.stride_tricks.sliding_window_view(stream.raw_score, frames)  # (n, frames)
    return float(runs.min(axis=1).max())
