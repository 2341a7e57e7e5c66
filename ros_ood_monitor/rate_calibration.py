"""
An operating point for a rate of false alerts, out of held-out in-distribution sequences.

One part of the sequences chooses the limit of the alert logic, another one states the rate that
this limit has: quoting the hours that chose the limit would flatter it. Alerts of both are counted
by the very logic that the node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.calibration import Calibration, conformal_threshold, OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import (
    affordable_episodes,
    hours_needed,
    poisson_upper,
    RateBound,
    Tail,
)
from ros_ood_monitor.score_streams import frame_rate_of, ScoreStream, split_streams, STALE_AFTER

__all__ = ['Count', 'RateCalibration', 'calibrate_rate', 'count_episodes', 'rate_to_aim_at']

Count: TypeAlias = Callable[[ScoreStream, OperatingPoint], int]
"""The number of alerts of a stream at an operating point."""

_SURE: Final = 0.9
"""Probability with which the stating hours confirm the rate that is aimed at."""

_ON_SCORES: Final = ('consecutive', 'ewma')
"""Logics whose limit is one on raw_score; that of the others is 0 where nothing happens."""

_RELEASE_ALPHA: Final = 0.05
_DOUBLINGS: Final = 60
_HALVINGS: Final = 12
_LEVELS: Final = 24
_MANY: Final = 60
"""Alerts in the choosing hours that a tail is fitted to, where there are so many."""

_BEYOND: Final = 0.25
"""Margin over the highest alert where there are too few for a tail, as a share of its height."""


@dataclass(frozen=True)
class RateCalibration:
    """
    What came of a calibration for a rate.

    Parameters
    ----------
    point : OperatingPoint
        With its limit, and the bound as its ``rate``.
    bound : RateBound
        What the stating hours say.
    chosen_on : RateBound
        The same figures of the hours that chose the limit. They flatter it, and state nothing.

    """

    point: OperatingPoint
    bound: RateBound
    chosen_on: RateBound

    def card(self) -> dict[str, Any]:
        """Return what a manifest tells of it, plain values."""
        point, chosen_on = self.point, self.chosen_on.card()
        limits = {'trigger': point.trigger, 'release': point.release}
        return {
            'logic': point.logic,
            **(limits if point.logic == 'consecutive' else {}),
            'settings': dict(point.settings),
            'established': point.rate_established,
            'statement': str(self.bound),
            'rate': self.bound.card(),
            'chosen_on': {key: chosen_on[key] for key in ('episodes', 'hours', 'sequences')},
        }


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
        From a stream and an operating point to the number of episodes.

    """

    def count(stream: ScoreStream, point: OperatingPoint) -> int:
        logic = make_logic(point, held_out, stale_after=STALE_AFTER)
        log = EpisodeLog(refractory=point.refractory)
        for raw_score, stamp in zip(stream.raw_score.tolist(), stream.stamp.tolist(), strict=True):
            log.note(logic.update(raw_score, stamp), stamp)
        return len(log.episodes)

    return count


def rate_to_aim_at(per_hour: float, hours: float) -> float:
    """
    Return the rate to choose a limit for, so that some hours are likely to confirm another.

    Parameters
    ----------
    per_hour : float
        The rate that is wanted at most.
    hours : float
        Hours that state it.

    Returns
    -------
    float
        Per hour. At this rate, the alerts in these hours are few enough to bound ``per_hour`` with
        probability 0.9; a tenth of ``per_hour`` where no number of alerts is.

    """
    affordable = affordable_episodes(per_hour, hours)
    if affordable < 0:
        return 0.1 * per_hour
    return poisson_upper(affordable, 1.0 - _SURE) / hours


def calibrate_rate(
    streams: Sequence[ScoreStream],
    calibration: Calibration,
    *,
    per_hour: float,
    logic: str | None = None,
    refractory: float = 10.0,
    seed: int = 0,
    extrapolate: bool = False,
    count: Count | None = None,
) -> RateCalibration:
    """
    Choose the limit of an alert logic for a rate of false alerts, and state the rate that it has.

    The limit is the smallest at which, and over which, the choosing hours keep to
    `rate_to_aim_at`, but not under the one at which a tail fitted to their alerts does.
    ``consecutive`` also takes its release from them: 95 % of their frames are under it.

    Parameters
    ----------
    streams : sequence of ScoreStream
        In-distribution, and nothing of it seen in training.
    calibration : Calibration
        Of the precision that scored the streams.
    per_hour : float
        False alerts per hour and camera that are wanted at most.
    logic : str, optional
        Alert logic; the operating point's where it is not given.
    refractory : float, default 10.0
        Alerts so many seconds or less apart are one.
    seed : int, default 0
        Of the split and of the bootstrap.
    extrapolate : bool, default False
        Take a fitted tail where there are too few hours to count.
    count : callable, optional
        `count_episodes` where it is not given.

    Returns
    -------
    RateCalibration
        Its point says whether the rate is established.

    Raises
    ------
    CalibrationError
        If there are too few hours, or frame rates differ.
    ParameterError
        If the logic is unknown.

    """
    streams = [stream for stream in streams if stream.hours > 0.0]
    frame_rate_hz = frame_rate_of(streams)
    total = sum(stream.hours for stream in streams)
    share = min(0.75, max(0.5, 1.2 * hours_needed(per_hour) / total))
    choosing, stating, rule = split_streams(streams, share=share, seed=seed)
    hours = sum(stream.hours for stream in stating)
    is_counted = affordable_episodes(per_hour, hours) >= 0
    is_something = hours > 0.0 and any(stream.hours for stream in choosing)
    if not is_something or not (is_counted or extrapolate):
        raise CalibrationError(_too_short(per_hour, hours, total))
    point = replace(
        calibration.operating_point,
        refractory=refractory,
        frame_rate_hz=frame_rate_hz,
        rate=None,
        rate_established=False,
    )
    if logic is not None and logic != point.logic:
        point = replace(point, logic=logic, settings={})
    point = _with_release(point, choosing)
    held_out = calibration.raw_score
    count = count or count_episodes(held_out)
    first, second = (_Part(part, point, held_out, count) for part in (choosing, stating))
    limit = first.choose_limit(rate_to_aim_at(per_hour, hours))

    def measure(part: _Part) -> RateBound:
        return RateBound.measure(
            part.count(limit),
            part.hours,
            per_hour=per_hour,
            refractory=refractory,
            seed=seed,
            frame_rate_hz=frame_rate_hz,
            split=rule,
        )

    bound = measure(second)
    if not is_counted:
        upper = second.tail().upper_rate(limit, seed=seed)
        bound = replace(bound, upper95=upper, bootstrap95=math.nan, extrapolated=True)
    point = replace(point.at_limit(limit), rate=bound, rate_established=bound.is_established)
    return RateCalibration(point, bound, measure(first))


def _with_release(point: OperatingPoint, streams: Sequence[ScoreStream]) -> OperatingPoint:
    if point.logic != 'consecutive':
        return point
    scores = np.concatenate([stream.raw_score for stream in streams])
    release = conformal_threshold(scores, _RELEASE_ALPHA)
    # the trigger is the limit, which is set next and brings a release over it down
    return replace(point, trigger=max(point.trigger, release), release=release, alpha=math.nan)


def _too_short(per_hour: float, hours: float, total: float) -> str:
    needed = hours_needed(per_hour)
    instead = (
        f', ask for {_two_digits_up(hours_needed(1.0) / hours):g} or more, or pass --extrapolate'
        if hours
        else ''
    )
    return (
        f'too few hours for {per_hour:g} false alerts per hour: stating it takes at least '
        f'{needed:.3g} quiet hours, got {hours:.3g} of {total:.3g} (the others choose the '
        f'setting); record about {2.0 * needed:.3g} h in all{instead}'
    )


def _two_digits_up(value: float) -> float:
    digits = 1 - math.floor(math.log10(value))
    return float(round(math.ceil(value * 10.0**digits) / 10.0**digits, max(digits, 0)))


class _Part:
    """Counts the alerts of some streams at any limit."""

    def __init__(
        self,
        streams: Sequence[ScoreStream],
        point: OperatingPoint,
        held_out: npt.NDArray[np.float64],
        count: Count,
    ) -> None:
        self._held_out = held_out
        self._streams = [stream for stream in streams if stream.hours > 0.0]
        self._names = list(dict.fromkeys(stream.sequence for stream in self._streams))
        self._point = point
        self._count = count
        self.count = cache(self._count_at)
        self.hours = tuple(
            sum(stream.hours for stream in self._streams if stream.sequence == name)
            for name in self._names
        )

    def _count_at(self, limit: float) -> tuple[int, ...]:
        point = self._point.at_limit(limit)
        counts = dict.fromkeys(self._names, 0)
        for stream in self._streams:
            counts[stream.sequence] += self._count(stream, point)
        return tuple(counts.values())

    def choose_limit(self, aim: float) -> float:
        """Return the limit for a rate per hour."""
        affordable, most = int(aim * sum(self.hours)), 0
        limit = highest = self._levels[0]
        for level in self._levels:
            total = sum(self.count(level))
            # fewer at a lower limit: alerts merge, in the end to one that never ends
            if total > affordable or total < most:
                break
            limit, most = level, total
        try:
            return max(limit, self.tail().limit(aim))
        except CalibrationError:  # too few alerts to tell what is beyond them
            return max(limit, highest + _BEYOND * (highest - self._levels[-1]))

    def tail(self) -> Tail:
        """
        Fit the peaks of alerts: a level counts those that reach it, and none over the next one.

        Raises
        ------
        CalibrationError
            If there are too few.

        """
        peaks: list[list[float]] = [[] for _ in self._names]
        before = np.zeros(len(self._names), dtype=np.int64)
        start = self._levels[0]
        for upper, level in pairwise(self._levels):
            now = np.maximum(before, self.count(level))  # merged ones are no fewer for that
            for k, new in enumerate(now - before):
                places = (np.arange(new) + 0.5) / max(new, 1)
                peaks[k] += (level + places * (upper - level)).tolist()
            if now.sum() > before.sum():
                start = level
            before = now
            if before.sum() >= _MANY:
                break
        return Tail.fit([np.array(peak) for peak in peaks], self.hours, start=start)

    @cached_property
    def _levels(self) -> list[float]:
        """Return limits, from the lowest without an alert down to next to where all is calm."""
        calm, reach = 0.0, 1.0
        if self._point.logic in _ON_SCORES:
            highest = max(float(stream.raw_score.max()) for stream in self._streams)
            calm = float(self._held_out.mean())
            spread = float(self._held_out.std()) or max(1.0, abs(calm))
            reach = max(highest - calm, 1e-3 * spread)
        low, high = calm, calm + reach
        for _ in range(_DOUBLINGS):
            if not any(self.count(high)):
                break
            low, high = high, calm + 2.0 * (high - calm)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if any(self.count(middle)) else (low, middle)
        return [high - k / _LEVELS * (high - calm) for k in range(_LEVELS)]
