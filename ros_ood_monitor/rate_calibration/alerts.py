"""The alerts of a stream at an operating point, counted by the alert logic."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import AccumulatingLogic, Automaton, EpisodeLog, make_logic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.rate_calibration.score_streams import BLIND, ScoreStream, STALE_AFTER
from ros_ood_monitor.rate_calibration.stretches import Stretches
from ros_ood_monitor.records import AlertState, State

__all__ = ['LOGICS_ON_SCORES', 'Alerts', 'Count', 'count_episodes']

LOGICS_ON_SCORES: Final = ('consecutive', 'ewma')
"""Logics whose limit is one on raw_score; that of the others is 0 where nothing happens."""

_OF_FRAMES: Final = ('after_fault', 'raw_score', 'stamp')


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
    known: dict[Hashable, Stretches] = {}

    def steps(stream: ScoreStream, point: OperatingPoint) -> Iterable[tuple[int, AlertState]]:
        logic = make_logic(point, held_out, stale_after=STALE_AFTER)
        if isinstance(logic, AccumulatingLogic):
            settings = frozenset(point.at_limit(0.0).settings.items())
            key = stream, point.logic, settings
            if key not in known:
                known[key] = Stretches(stream, logic)
            return known[key].run(logic)
        return () if logic.limit >= _reach(stream, point) else _run(stream, logic)

    def count(stream: ScoreStream, point: OperatingPoint) -> Alerts:
        log = EpisodeLog(refractory=point.refractory)
        watched = np.append(stream.watched, 0.0)  # (n,)
        seconds = 0.0
        for place, alert in steps(stream, point):
            log.note(alert, float(stream.stamp[place]))
            if alert.state is State.ALERT:
                seconds += watched[place]
        return Alerts(len(log.episodes), float(seconds))

    return count


def _run(stream: ScoreStream, logic: Automaton) -> Iterator[tuple[int, AlertState]]:
    frames = zip(*(getattr(stream, name).tolist() for name in _OF_FRAMES), strict=True)
    for place, (is_after_fault, raw_score, stamp) in enumerate(frames):
        if is_after_fault:
            logic.fault(BLIND)
        yield place, logic.update(raw_score, stamp)


def _reach(stream: ScoreStream, point: OperatingPoint) -> float:
    """Return a raw_score at or over which no trigger is exceeded long enough."""
    frames = point.trigger_frames
    if len(stream.raw_score) < frames:
        return -math.inf
    runs = np.lib.stride_tricks.sliding_window_view(stream.raw_score, frames)  # (n, frames)
    return float(runs.min(axis=1).max())
