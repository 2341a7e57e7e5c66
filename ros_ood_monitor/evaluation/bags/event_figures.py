"""What events and alerts add up to: found or missed, how soon, how often for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
import math
from typing import Final

import numpy as np

from ros_ood_monitor.evaluation.bags.events import Event
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.scored import ALERT
from ros_ood_monitor.evaluation.bags.table import Bootstrap
from ros_ood_monitor.metrics import Interval, middle
from ros_ood_monitor.rates import bootstrap_upper_rate, upper_rate

__all__ = ['EventFigures', 'Times', 'event_figures']

_Z: Final = 1.959964  # of 95 %


@dataclass(frozen=True)
class Times:
    """Median, mean and largest of some times in s, and the median's 95 % interval."""

    count: int
    median: float | None = None
    mean: float | None = None
    longest: float | None = None
    median_95: Interval | None = None

    @classmethod
    def of(cls, times: Sequence[float], *, seed: int, resamples: int) -> Times:
        """
        Sum up the times of events, each of which is drawn as a whole.

        Parameters
        ----------
        times : sequence of float
            In s.
        seed, resamples
            Of the bootstrap; an interval needs two events.

        Returns
        -------
        Times
            Without figures where there are no times.

        """
        if not times:
            return cls(0)
        given = np.asarray(times)  # (n,)
        interval = None
        if given.size > 1:
            rng = np.random.default_rng(seed)
            drawn = np.median(rng.choice(given, (resamples, given.size)), axis=1)  # (resamples,)
            interval = middle(drawn, 0.95)
        found = (float(np.median(given)), float(given.mean()), float(given.max()))
        return cls(int(given.size), *found, interval)


@dataclass(frozen=True)
class EventFigures:
    """
    What was found, how soon, and what was no event.

    Parameters
    ----------
    events, found, without_frames, was_on : int
        Events that a camera could see, those found, those without a frame (not counted), and
        those only under an alert that was on in in-distribution time before: not found.
    found_share : float or None
        ``found / events``.
    found_share_95 : Interval or None
        Its 95 % interval (Wilson 1927).
    time_to_alert, time_to_clear : Times
        Of the events whose alert began with them; of those whose alert ended by itself.
    outlasted : int
        Events whose alert lasted to the next event or to the end of the bag.
    missed_in_fault : int
        Events missed during which the monitor said that it could not tell: FAULT.
    alerts, false_alerts : int or None
        Episodes; None for a kind, whose events have alerts and whose absence has none.
    hours : float or None
        In-distribution time watched, of each camera.
    false_alerts_per_hour, false_alerts_per_hour_upper95 : float or None
        The rate, and the larger of its two upper 95 % bounds: from counts alone, and over bags.
    normal_time_in_alert : float or None
        Share of in-distribution frames in ALERT.

    """

    events: int
    found: int
    without_frames: int
    was_on: int
    found_share: float | None
    found_share_95: Interval | None
    time_to_alert: Times
    time_to_clear: Times
    outlasted: int
    missed_in_fault: int
    alerts: int | None = None
    false_alerts: int | None = None
    hours: float | None = None
    false_alerts_per_hour: float | None = None
    false_alerts_per_hour_upper95: float | None = None
    normal_time_in_alert: float | None = None


def event_figures(
    events: Iterable[Event],
    bags: Sequence[JudgedBag] = (),
    *,
    bootstrap: Bootstrap,
    camera: str | None = None,
) -> EventFigures:
    """
    Sum up events, and the alerts and hours of bags where those belong to them.

    Parameters
    ----------
    events : iterable of Event
        The events.
    bags : sequence of JudgedBag
        Bags whose alerts count; none for the events of one kind.
    bootstrap : Bootstrap
        How intervals are drawn.
    camera : str, optional
        Only this camera's alerts.

    Returns
    -------
    EventFigures
        The sums.

    """
    events = list(events)
    seen = [event for event in events if event.frames]
    found = [event for event in seen if event.found]
    draw = {'seed': bootstrap.seed, 'resamples': bootstrap.resamples}
    cleared = [event.time_to_clear for event in seen if not math.isnan(event.time_to_clear)]
    figures = EventFigures(
        events=len(seen),
        found=len(found),
        without_frames=len(events) - len(seen),
        was_on=sum(event.was_on for event in seen),
        found_share=len(found) / len(seen) if seen else None,
        found_share_95=_wilson(len(found), len(seen)) if seen else None,
        time_to_alert=Times.of(
            [e.time_to_alert for e in found if not math.isnan(e.time_to_alert)], **draw
        ),
        time_to_clear=Times.of(cleared, **draw),
        outlasted=sum(event.outlasts for event in seen),
        missed_in_fault=sum(
            event.in_fault > 0.0 and not (event.found or event.was_on) for event in seen
        ),
    )
    return _with_alerts(figures, bags, camera, bootstrap.seed) if bags else figures


def _with_alerts(
    figures: EventFigures, bags: Sequence[JudgedBag], camera: str | None, seed: int
) -> EventFigures:
    alerts = [
        [alert for alert in bag.alerts if camera in (None, alert.episode.camera)] for bag in bags
    ]
    false = [sum(alert.is_false for alert in mine) for mine in alerts]
    hours = [
        sum(time for called, time in bag.hours.items() if camera in (None, called)) for bag in bags
    ]
    total, normal, in_alert = sum(hours), 0, 0
    for bag in bags:
        scored = bag.scored
        is_known = bag.label == 0
        if camera is not None:
            is_known &= np.array([c == camera for c in scored.facts.cameras])[scored.camera]
        normal += int(np.count_nonzero(is_known))
        in_alert += int(np.count_nonzero(is_known & (scored.state == ALERT)))
    upper = None
    if total > 0.0:
        watched = [(k, time) for k, time in zip(false, hours, strict=True) if time > 0.0]
        of_bags = bootstrap_upper_rate(*zip(*watched, strict=True), seed=seed)
        upper = float(np.nanmax([upper_rate(sum(false), total), of_bags]))
    return replace(
        figures,
        alerts=sum(map(len, alerts)),
        false_alerts=sum(false),
        hours=total,
        false_alerts_per_hour=sum(false) / total if total > 0.0 else None,
        false_alerts_per_hour_upper95=upper,
        normal_time_in_alert=in_alert / normal if normal else None,
    )


def _wilson(found: int, count: int) -> Interval:
    share, z = found / count, _Z
    middle_of = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count)
    reach *= math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return Interval(max(0.0, middle_of - reach), min(1.0, middle_of + reach))
