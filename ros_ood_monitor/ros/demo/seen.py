"""What a demonstration saw: one point a frame, and the alert episodes among them; no ROS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ros_ood_monitor.records import State

__all__ = ['Interval', 'Point', 'alerts_of', 'key_moments']


@dataclass(frozen=True)
class Point:
    """
    The node's answer to one frame.

    Parameters
    ----------
    stamp : float
        Image stamp, in s.
    raw_score, score, threshold : float
        As published.
    state : State
        As published.

    """

    stamp: float
    raw_score: float
    score: float
    threshold: float
    state: State


@dataclass(frozen=True)
class Interval:
    """
    A stretch of image time.

    Parameters
    ----------
    start, end : float
        Image stamps, in s.
    label : str
        What it is.

    """

    start: float
    end: float
    label: str = ''


def alerts_of(points: Sequence[Point]) -> list[Interval]:
    """
    Return the alerts, as `ros_ood_monitor.alerting.Episode` counts them.

    Parameters
    ----------
    points : sequence of Point
        In the order of their stamps.

    Returns
    -------
    list of Interval
        Each from its first frame in ALERT to the first one back in NORMAL; to the next alert
        where an interruption lies between the two, and to the last point where none follows.

    """
    return list(_alerts(points))


def _alerts(points: Sequence[Point]) -> Iterator[Interval]:
    start: float | None = None
    before = State.NORMAL
    for point in points:
        is_new = point.state is State.ALERT and before is not State.ALERT
        if start is not None and (is_new or point.state is State.NORMAL):
            yield Interval(start, point.stamp)
            start = None
        start = point.stamp if is_new else start
        before = point.state
    if start is not None:
        yield Interval(start, points[-1].stamp)


def key_moments(points: Sequence[Point]) -> dict[str, Point]:
    """
    Return the frames worth showing.

    Parameters
    ----------
    points : sequence of Point
        In the order of their stamps, at least one.

    Returns
    -------
    dict of str to Point
        ``normal``, ``alert``, ``worst`` and ``after`` as far as there are such frames, in the
        order of time and none twice.

    """
    worst = max(points, key=lambda point: point.raw_score)
    alerts = alerts_of(points)
    before_end = alerts[0].start if alerts else worst.stamp
    calm = [p for p in points if p.state is State.NORMAL]
    before = [p for p in calm if p.stamp < before_end]
    after = [p for p in calm if alerts and p.stamp > alerts[-1].end]
    found: dict[str, Point] = {}
    if alerts:
        found['alert'] = next(p for p in points if p.stamp == alerts[0].start)
    if worst not in found.values():
        found['worst'] = worst
    for name, stretch in (('normal', before), ('after', after)):
        middle = stretch[len(stretch) // 2] if stretch else worst
        if middle not in found.values():
            found[name] = middle
    return dict(sorted(found.items(), key=lambda item: item[1].stamp))
