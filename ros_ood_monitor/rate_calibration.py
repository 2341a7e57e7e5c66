"""
An operating point for a rate of false alerts, out of held-out in-distribution sequences.

One part of the sequences chooses the limit of the alert logic, another one states the rate that
this limit has: quoting the hours that chose the limit would flatter it. Alerts of both are counted
by the very logic that the node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.calibration import Calibration, conformal_threshold, OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import (
    affordable_episodes,
    hours_needed,
    most_in_alert,
    poisson_upper,
    RateBound,
    Tail,
)
from ros_ood_monitor.records import State
from ros_ood_monitor.score_streams import (
    frame_rate_of,
    ScoreStream,
    sequence_hours,
    split_streams,
    STALE_AFTER,
)

__all__ = [
    'Alerts',
    'Count',
    'RateCalibration',
    'calibrate_rate',
    'check_hours',
    'check_refractory',
    'count_episodes',
    'rate_to_aim_at',
    'usual_refractory',
]


class Alerts(NamedTuple):
    """Alerts of a stream: how many episodes, and the time watched that was in ALERT, in s."""

    episodes: int
    seconds: float


Count: TypeAlias = Callable[[ScoreStream, OperatingPoint], Alerts]
"""The alerts of a stream at an operating point."""

_SURE: Final = 0.9
"""Probability with which the stating hours confirm the rate that is aimed at."""

_ON_SCORES: Final = ('consecutive', 'ewma')
"""Logics whose limit is one on raw_score; that of the others is 0 where nothing happens."""

_REFRACTORY_S: Final = 10.0
_MOST_REFRACTORY: Final = 0.1
"""Of the mean time between the alerts that are asked for."""

_FARTHEST: Final = 10.0
"""Times the hours that there are, how many hours a tail may stand for."""

_REACH: Final = 1.0
"""How far over the highest score that is known to be normal, in its distance to the median."""

_PATIENCE_S: Final = 60.0
"""Time in which an alert logic must hear what is far odder than all held-out frames."""

_LEAST_LIMITS: Final = {'cusum': 1.0, 'martingale': math.log(20.0)}
"""A deviation for a second, and a capital of 20: no evidence is less; of raw_score, the upper
quartile of the held-out ones."""

_RELEASE_ALPHA: Final = 0.05
_DOUBLINGS: Final = 60
_HALVINGS: Final = 12
_LEVELS: Final = 24
_LOUDEST: Final = 3
"""Sequences that are told apart by the limit that they ask for."""

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
    limit_before : float
        The limit that the operating point had; where it had none, that which the logic starts at.
    choosing : mapping of str to tuple of (int, float)
        For each sequence that chose: its alerts at the limit, and the limit from which on it has
        none. Sequences with the highest ones, which set the limit, come first.

    """

    point: OperatingPoint
    bound: RateBound
    chosen_on: RateBound
    limit_before: float
    choosing: Mapping[str, tuple[int, float]]

    @property
    def limit(self) -> float:
        """Return the limit that was chosen."""
        is_trigger = self.point.logic == 'consecutive'
        return self.point.trigger if is_trigger else self.point.settings['limit']

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
            'limit_before': self.limit_before,
            'chosen_on': {
                **{key: chosen_on[key] for key in ('episodes', 'hours', 'sequences', 'in_alert')},
                'alerts': {name: episodes for name, (episodes, _) in self.choosing.items()},
                'quiet_from': {name: quiet for name, (_, quiet) in self.choosing.items()},
            },
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
        From a stream and an operating point to its alerts.

    """

    def count(stream: ScoreStream, point: OperatingPoint) -> Alerts:
        logic = make_logic(point, held_out, stale_after=STALE_AFTER)
        if point.logic in _ON_SCORES and logic.limit >= max(
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


def usual_refractory(per_hour: float) -> float:
    """Return the refractory time where none is given, in s: 10, less for a high rate."""
    return min(_REFRACTORY_S, _MOST_REFRACTORY * 3600.0 / per_hour)


def check_refractory(refractory: float, per_hour: float) -> None:
    """
    Refuse a refractory time that would hide the rate of alerts which it is to count.

    Parameters
    ----------
    refractory : float
        In s.
    per_hour : float
        The rate that is asked for.

    Raises
    ------
    CalibrationError
        If it is over a tenth of the mean time between such alerts.

    """
    most = _MOST_REFRACTORY * 3600.0 / per_hour
    if not 0.0 <= refractory <= most:
        msg = (
            f'refractory time must be between 0 and {most:.4g} s, a tenth of the mean time '
            f'between {per_hour:g} alerts per hour, got {refractory:g} s: a longer one merges '
            'the alerts that it counts'
        )
        raise CalibrationError(msg)


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
    refractory: float | None = None,
    seed: int = 0,
    extrapolate: bool = False,
    count: Count | None = None,
    tell: Callable[[str], None] | None = None,
) -> RateCalibration:
    """
    Choose the limit of an alert logic for a rate of false alerts, and state the rate that it has.

    The limit is the smallest at which, and over which, the choosing hours keep to
    `rate_to_aim_at`, but not under the one at which a tail fitted to their alerts does.
    ``consecutive`` also takes its release from them: 95 % of their frames are under it. A limit
    that would not hear in a minute what lies as far over the highest score of the bundle and of
    other sequences as that over the median is none: the hours that ask for it are not normal, or
    the logic does not suit them.

    Parameters
    ----------
    streams : sequence of ScoreStream
        In-distribution, and nothing of it seen in training.
    calibration : Calibration
        Of the precision that scored the streams.
    per_hour : float
        False alerts per hour that are wanted at most, of all cameras of a recording together.
    logic : str, optional
        Alert logic; the operating point's where it is not given.
    refractory : float, optional
        Alerts so many seconds or less apart are one; `usual_refractory` where it is not given.
    seed : int, default 0
        Of the split and of the bootstrap.
    extrapolate : bool, default False
        Take a fitted tail where there are too few hours to count, down to a tenth of them.
    count : callable, optional
        `count_episodes` where it is not given.
    tell : callable, optional
        Told what is being done, before each pass over a part.

    Returns
    -------
    RateCalibration
        Its point says whether the rate is established.

    Raises
    ------
    CalibrationError
        If there are too few hours, frame rates differ, the refractory time is too long or the
        limit far beyond the held-out scores.
    ParameterError
        If the logic is unknown.

    """
    refractory = usual_refractory(per_hour) if refractory is None else refractory
    check_refractory(refractory, per_hour)
    streams = [stream for stream in streams if stream.hours > 0.0]
    frame_rate_hz = frame_rate_of(streams)
    choosing, stating, rule = check_hours(
        streams, per_hour=per_hour, seed=seed, extrapolate=extrapolate
    )
    hours = sum(sequence_hours(stating).values())
    is_counted = affordable_episodes(per_hour, hours) >= 0
    point = replace(
        calibration.operating_point,
        refractory=refractory,
        frame_rate_hz=frame_rate_hz,
        rate=None,
        rate_established=False,
        alpha=math.nan,
    )
    if logic is not None and logic != point.logic:
        point = replace(point, logic=logic, settings={})
    held_out = calibration.raw_score
    before = make_logic(point, held_out).limit
    point = _with_release(point, choosing)
    count = count or count_episodes(held_out)
    first, second = (_Part(part, point, held_out, count, tell) for part in (choosing, stating))
    limit = first.choose_limit(_aim(per_hour, hours), most_in_alert(per_hour))
    quiet = first.quiet_from()
    _check_hearing(point.at_limit(limit), held_out, choosing, before=before, quiet=quiet)

    def measure(part: _Part) -> RateBound:
        alerts = part.count(limit)
        return RateBound.measure(
            [one.episodes for one in alerts.values()],
            part.hours,
            per_hour=per_hour,
            refractory=refractory,
            seed=seed,
            frame_rate_hz=frame_rate_hz,
            split=rule,
            in_alert={name: one.seconds / 3600.0 for name, one in alerts.items()},
        )

    bound = measure(second)
    if not is_counted:
        upper = second.tail().upper_rate(limit, seed=seed)
        bound = replace(bound, upper95=upper, bootstrap95=math.nan, extrapolated=True)
    point = replace(point.at_limit(limit), rate=bound, rate_established=bound.is_established)
    chosen = {name: (first.count(limit)[name].episodes, at) for name, at in quiet.items()}
    return RateCalibration(point, bound, measure(first), before, chosen)


def _aim(per_hour: float, hours: float) -> float:
    # alerts leave fewer quiet hours, which matters where many are asked for
    quiet = hours * (1.0 - min(0.5, most_in_alert(per_hour)))
    return rate_to_aim_at(per_hour, quiet if affordable_episodes(per_hour, quiet) >= 0 else hours)


def check_hours(
    streams: Sequence[ScoreStream], *, per_hour: float, seed: int = 0, extrapolate: bool = False
) -> tuple[list[ScoreStream], list[ScoreStream], str]:
    """
    Divide streams into those that choose a limit and those that state its rate, if they can.

    Parameters
    ----------
    streams : sequence of ScoreStream
        All of them; scores do not matter.
    per_hour, seed, extrapolate
        As for `calibrate_rate`.

    Returns
    -------
    choosing, stating : list of ScoreStream
        No frame is in both.
    rule : {'sequence', 'block'}
        As of `split_streams`.

    Raises
    ------
    CalibrationError
        If there are too few hours.

    """
    total = sum(sequence_hours(streams).values())
    share = min(0.75, max(0.5, 1.2 * hours_needed(per_hour) / total)) if total else 0.5
    choosing, stating, rule = split_streams(streams, share=share, seed=seed)
    hours = sum(sequence_hours(stating).values())
    farthest = (_FARTHEST if extrapolate else 1.0) * hours
    if not (hours and any(stream.hours for stream in choosing)) or (
        affordable_episodes(per_hour, farthest) < 0
    ):
        raise CalibrationError(_too_short(per_hour, hours, total, extrapolate=extrapolate))
    return choosing, stating, rule


def _check_hearing(
    point: OperatingPoint,
    held_out: npt.NDArray[np.float64],
    choosing: Sequence[ScoreStream],
    *,
    before: float,
    quiet: Mapping[str, float],
) -> None:
    """
    Refuse a limit at which the alert is silent in front of what is plainly odd.

    What is plainly odd lies as far over the highest score that is known as that over the median;
    the third of the choosing sequences that reaches highest is not asked, it may be odd itself,
    and where no other is left, twice as far.
    """
    tops: dict[str, float] = {}
    for stream in choosing:
        top = float(stream.raw_score.max(initial=-math.inf))
        tops[stream.sequence] = max(top, tops.get(stream.sequence, top))
    asked = sorted(tops.values())[: len(tops) - math.ceil(len(tops) / 3)]
    highest, middle = max([float(held_out[-1]), *asked]), float(np.median(held_out))
    odd = highest + (_REACH if asked else 2.0 * _REACH) * (highest - middle)
    odd += 1e-9 * max(1.0, abs(odd))  # scores that are all the same
    logic = make_logic(point, held_out, stale_after=math.inf)
    for k in range(math.ceil(_PATIENCE_S * point.frame_rate_hz) + point.trigger_frames):
        if logic.update(odd, k / point.frame_rate_hz).state is State.ALERT:
            return
    (name, at), *others = quiet.items()
    rest = f', the others from {others[0][1]:.4g} on' if others else ''
    msg = (
        f'limit is beyond hearing: {point.logic} at {logic.limit:.4g} (before: {before:.4g}) '
        f'would be silent for {_PATIENCE_S:g} s of scores at {odd:.4g}, far over the highest '
        f'score that is known to be normal ({highest:.4g}); look at what sets it: '
        f'sequence {name} is quiet from {at:.4g} on{rest}. Leave out what is not normal, train '
        'with what is, or choose another logic'
    )
    raise CalibrationError(msg)


def _with_release(point: OperatingPoint, streams: Sequence[ScoreStream]) -> OperatingPoint:
    if point.logic != 'consecutive':
        return point
    scores = np.concatenate([stream.raw_score for stream in streams])
    release = conformal_threshold(scores, _RELEASE_ALPHA)
    # the trigger is the limit, which is set next and brings a release over it down
    return replace(point, trigger=max(point.trigger, release), release=release)


def _too_short(per_hour: float, hours: float, total: float, *, extrapolate: bool) -> str:
    needed = hours_needed(per_hour)
    instead = ''
    if hours:
        stated = hours_needed(1.0) / hours
        instead = f', ask for {_two_digits_up(stated):g} or more'
        if extrapolate:
            instead += f' ({_two_digits_up(stated / _FARTHEST):g} by a tail, and no less)'
        elif needed <= _FARTHEST * hours:
            instead += ', or pass --extrapolate'
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
        tell: Callable[[str], None] | None,
    ) -> None:
        self._held_out = held_out
        self._streams = [stream for stream in streams if stream.hours > 0.0]
        hours = sequence_hours(self._streams)
        self._names, self.hours = list(hours), tuple(hours.values())
        self._point = point
        self._count = count
        self._tell = tell
        self.count = cache(self._count_at)
        self._alerts = cache(self._alerts_at)

    def _alerts_at(self, place: int, limit: float) -> Alerts:
        return self._count(self._streams[place], self._point.at_limit(limit))

    def _count_at(self, limit: float) -> dict[str, Alerts]:
        if self._tell:
            self._tell(f'limit {limit:.4g}')
        found = dict.fromkeys(self._names, Alerts(0, 0.0))
        for k, stream in enumerate(self._streams):
            episodes, seconds = found[stream.sequence]
            more = self._alerts(k, limit)
            found[stream.sequence] = Alerts(episodes + more.episodes, seconds + more.seconds)
        return found

    def _episodes(self, limit: float) -> list[int]:
        return [alerts.episodes for alerts in self.count(limit).values()]

    def _is_quiet(self, limit: float) -> bool:
        if self._tell:
            self._tell(f'limit {limit:.4g}')
        return not any(self._alerts(k, limit).episodes for k in range(len(self._streams)))

    def choose_limit(self, aim: float, most_in_alert: float) -> float:
        """Return the limit for a rate per hour, at most so large a share of time in ALERT."""
        watched, most = sum(self.hours), 0
        limit = highest = self._levels[0]
        for level in self._levels:
            total = sum(self._episodes(level))
            hours = sum(alerts.seconds for alerts in self.count(level).values()) / 3600.0
            # fewer at a lower limit: alerts merge, in the end to one that never ends
            is_many = total > int(aim * (watched - hours))
            if is_many or total < most or hours > most_in_alert * watched:
                break
            limit, most = level, total
        try:
            limit = max(limit, self.tail().limit(aim))
        except CalibrationError:  # too few alerts to tell what is beyond them
            limit = max(limit, highest + _BEYOND * (highest - self._levels[-1]))
        quartile = float(self._held_out[int(0.75 * self._held_out.size)])
        return max(limit, _LEAST_LIMITS.get(self._point.logic, quartile))

    def quiet_from(self) -> dict[str, float]:
        """
        Return the limit from which on each sequence has no alert, the highest first.

        Exact for three sequences at least; where it is lower than those, how low is not looked up.
        """
        found: dict[str, float] = {}
        level = self._levels[0]
        for upper, level in pairwise(self._levels):
            for name, alerts in self.count(level).items():
                if alerts.episodes:
                    found.setdefault(name, upper)
            if len(found) >= min(_LOUDEST, len(self._names)):
                break
        found = {name: found.get(name, level) for name in self._names}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

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
            now = np.maximum(before, self._episodes(level))  # merged ones are no fewer for that
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
            if self._is_quiet(high):
                break
            low, high = high, calm + 2.0 * (high - calm)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._is_quiet(middle) else (middle, high)
        return [high - k / _LEVELS * (high - calm) for k in range(_LEVELS)]
