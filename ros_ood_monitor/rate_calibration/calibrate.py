"""Choose a limit for a rate of false alerts, and state the rate that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import math
import sys
from typing import Final

import numpy as np

from ros_ood_monitor.alerting import make_logic
from ros_ood_monitor.calibration import Calibration, conformal_threshold, OperatingPoint
from ros_ood_monitor.rate_calibration.alerts import Count, count_episodes
from ros_ood_monitor.rate_calibration.hearing import check_hearing
from ros_ood_monitor.rate_calibration.hours import (
    check_hours,
    least_sequences,
    quiet_rate_to_aim_at,
)
from ros_ood_monitor.rate_calibration.part import Part
from ros_ood_monitor.rate_calibration.refractory import check_refractory, usual_refractory
from ros_ood_monitor.rate_calibration.result import RateCalibration
from ros_ood_monitor.rate_calibration.score_streams import (
    frame_rate_of,
    ScoreStream,
    sequence_hours,
)
from ros_ood_monitor.rates import affordable_episodes, most_in_alert, RateBound

__all__ = ['calibrate_rate', 'point_for']

_RELEASE_ALPHA: Final = 0.05


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
        As of `point_for`.

    """
    refractory = usual_refractory(per_hour) if refractory is None else refractory
    check_refractory(refractory, per_hour)
    start = point_for(calibration, logic)
    streams = [stream for stream in streams if stream.hours > 0.0]
    frame_rate_hz = frame_rate_of(streams)
    choosing, stating, rule = check_hours(
        streams, per_hour=per_hour, seed=seed, extrapolate=extrapolate
    )
    stated = sequence_hours(stating)
    hours = sum(stated.values())
    is_counted = affordable_episodes(per_hour, hours) >= 0
    point = replace(
        start,
        refractory=refractory,
        frame_rate_hz=frame_rate_hz,
        rate=None,
        rate_established=False,
        alpha=math.nan,
    )
    held_out = calibration.raw_score
    point = _with_release(point, choosing)
    count = count or count_episodes(held_out)
    first, second = (Part(part, point, held_out, count, tell) for part in (choosing, stating))
    limit, decided_by = first.choose_limit(
        quiet_rate_to_aim_at(per_hour, hours, len(stated)), most_in_alert(per_hour)
    )
    quiet = first.quiet_from()
    doubtful = check_hearing(point.at_limit(limit), held_out, choosing, quiet=quiet)

    def measure(part: Part) -> RateBound:
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

    bound = replace(measure(second), least_sequences=least_sequences(point.logic))
    if not is_counted:
        upper = second.tail().upper_rate(limit, seed=seed)
        bound = replace(bound, upper95=upper, bootstrap95=math.nan, extrapolated=True)
    point = replace(point.at_limit(limit), rate=bound, rate_established=bound.is_established)
    chosen = {name: (first.count(limit)[name].episodes, at) for name, at in quiet.items()}
    return RateCalibration(point, bound, measure(first), decided_by, start.limit, chosen, doubtful)


def point_for(calibration: Calibration, logic: str | None) -> OperatingPoint:
    """
    Return the operating point that a limit is chosen for, of a logic that any limit suits.

    Parameters
    ----------
    calibration : Calibration
        Of a precision.
    logic : str or None
        Alert logic, with its default settings where it is another one than the operating point's;
        None for that.

    Returns
    -------
    OperatingPoint
        As it was, but for the logic.

    Raises
    ------
    ParameterError
        If the logic is unknown, or the held-out scores carry it at no limit.

    """
    point = calibration.operating_point
    if logic is not None and logic != point.logic:
        point = replace(point, logic=logic, settings={})
    make_logic(point.at_limit(sys.float_info.max), calibration.raw_score)
    return point


def _with_release(point: OperatingPoint, streams: Sequence[ScoreStream]) -> OperatingPoint:
    if point.logic != 'consecutive':
        return point
    scores = np.concatenate([stream.raw_score for stream in streams])
    release = conformal_threshold(scores, _RELEASE_ALPHA)
    # the trigger is the limit, which is set next and brings a release over it down
    return replace(point, trigger=max(point.trigger, release), release=release)
