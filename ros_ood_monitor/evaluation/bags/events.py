"""Labelled stretches of one camera: found or missed, how soon, how soon clear again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.evaluation.bags.labels import Label
from ros_ood_monitor.evaluation.bags.scored import ALERT, FAULT, ScoredBag

__all__ = ['Event', 'EventRows', 'Mask', 'Span', 'Track']

Mask = npt.NDArray[np.bool_]


class EventRows(NamedTuple):
    """Rows of an event in its bag: first and last frame, and the last one that may find it."""

    first: int
    last: int
    until: int


@dataclass(frozen=True)
class Event:
    """
    A labelled stretch as one camera went through it.

    Parameters
    ----------
    bag, camera, kind : str
        Where, and what.
    start, end : float
        In s, in image stamps: of a label on another clock those of its first and newest frame.
    rows : EventRows or None
        Where its frames are; None without any.
    frames : int
        Frames in it; without any nobody can tell whether it was found.
    found : bool
        Whether the camera was in ALERT at one of its frames, or within the margin behind it, by an
        alert that was not on over in-distribution frames before.
    was_on : bool
        Whether it was in ALERT only by one that was: that tells nothing of this event.
    time_to_alert : float
        From its start to the first frame in ALERT that finds it, in s; 0 where that alert began
        within the margin before; NaN where it began in another event, and where nothing found it.
    time_to_clear : float
        From its end to the first frame no longer in its alert: neither in ALERT nor in FAULT,
        which tells nothing, or the first one of a new alert. In s; NaN where no alert was on at
        its end, or the alert lasted to the next event or to the end of the bag.
    outlasts : bool
        Whether an alert on at its end lasted so long.
    in_alert, in_fault : float
        Share of its frames in ALERT, and in FAULT, where the monitor said that it could not tell;
        NaN without frames.

    """

    bag: str
    camera: str
    kind: str
    start: float
    end: float
    rows: EventRows | None = None
    frames: int = 0
    found: bool = False
    was_on: bool = False
    time_to_alert: float = math.nan
    time_to_clear: float = math.nan
    outlasts: bool = False
    in_alert: float = math.nan
    in_fault: float = math.nan


@dataclass(frozen=True, eq=False)
class Span:
    """
    A label on the frames of one camera.

    Parameters
    ----------
    kind : str
        What is seen.
    axis : ndarray of shape (k,), float64
        The frames' times on the label's clock, in s.
    start, end : float
        Of the label, on that clock.
    inside, near, behind : ndarray of shape (k,), bool
        Frames in it, within the margin on either side, and within the margin behind it.

    """

    kind: str
    axis: npt.NDArray[np.float64]
    start: float
    end: float
    inside: Mask
    near: Mask
    behind: Mask


class Track:
    """
    The frames of one camera of a bag, in order.

    Parameters
    ----------
    bag, camera : str
        Names.
    scored : ScoredBag
        The bag's frames.
    rows : ndarray of shape (k,), int64
        Those of the camera.

    """

    def __init__(
        self, bag: str, camera: str, scored: ScoredBag, rows: npt.NDArray[np.int64]
    ) -> None:
        self._bag, self._camera = bag, camera
        self._rows = rows
        self._stamp = scored.stamp[rows]  # (k,)
        self._log_time = scored.log_time[rows]
        self._is_alert = scored.state[rows] == ALERT
        self._is_fault = scored.state[rows] == FAULT
        self._is_new = self._is_alert & scored.changed[rows]
        starts = self._is_alert & (self._is_new | ~np.append(False, self._is_alert[:-1]))
        places = np.where(starts, np.arange(rows.size), 0)
        self._began = np.maximum.accumulate(places)  # (k,), where each frame's alert began

    def span(self, label: Label, began: float, margin: float) -> Span:
        """
        Lay a label over the frames.

        Parameters
        ----------
        label : Label
            Of this camera.
        began : float
            Stamp of the bag's first image, in s.
        margin : float
            In s.

        Returns
        -------
        Span
            Its frames.

        """
        axis = self._log_time if label.time == 'log' else self._stamp
        shift = began if label.time == 'bag' else 0.0
        start, end = label.start + shift, label.end + shift
        inside = (axis >= start) & (axis < end)
        around = (axis >= start - margin) & (axis < end + margin)
        behind = around & (axis >= end)
        if math.isinf(start):
            start = float(axis.min())
        return Span(label.kind, axis, start, end, inside, around & ~inside, behind)

    def event(self, span: Span, spans: Sequence[Span]) -> Event:
        """
        Tell how the camera went through a label.

        Parameters
        ----------
        span : Span
            The label.
        spans : sequence of Span
            All labels of the camera: an alert that lasts into another one is not cleared, and one
            that was on over frames of none of them finds nothing.

        Returns
        -------
        Event
            Found or missed, and when.

        """
        frames = np.flatnonzero(span.inside)
        if not frames.size:
            return Event(self._bag, self._camera, span.kind, span.start, span.end)
        first, last = int(frames[0]), int(frames[-1])
        may_find = span.inside | span.behind
        hits = np.flatnonzero(self._is_alert & may_find)
        own = hits[self._is_continuous(first, spans)[self._began[hits]]]
        time_to_alert = math.nan
        if own.size and (span.inside | span.near)[self._began[own[0]]]:
            time_to_alert = max(0.0, float(span.axis[own[0]]) - span.start)
        time_to_clear, outlasts = self._clearing(last, span, spans)
        if span.axis is self._stamp:
            start, end = span.start, span.end
        else:
            start, end = float(self._stamp[first]), float(self._stamp[frames].max())
        until = int(np.flatnonzero(may_find)[-1])
        return Event(
            bag=self._bag,
            camera=self._camera,
            kind=span.kind,
            start=start,
            end=end,
            rows=EventRows(*self._rows[[first, last, until]].tolist()),
            frames=int(frames.size),
            found=bool(own.size),
            was_on=bool(hits.size and not own.size),
            time_to_alert=time_to_alert,
            time_to_clear=time_to_clear,
            outlasts=outlasts,
            in_alert=float(np.mean(self._is_alert[frames])),
            in_fault=float(np.mean(self._is_fault[frames])),
        )

    def _is_continuous(self, first: int, spans: Sequence[Span]) -> Mask:
        """Return from where no in-distribution frame lies before an event's first one (k,)."""
        known = np.ones(self._stamp.size, np.bool_)
        for span in spans:
            known &= ~(span.inside | span.near)
        last = np.flatnonzero(known[:first])
        return np.arange(known.size) > (last[-1] if last.size else -1)

    def _clearing(self, last: int, span: Span, spans: Sequence[Span]) -> tuple[float, bool]:
        """Return how long the alert of an event outlived it, or that it did not end."""
        if not self._is_alert[last]:
            return math.nan, False
        goes_on = (self._is_alert | self._is_fault) & ~self._is_new  # (k,)
        over = np.flatnonzero(~goes_on[last + 1 :])
        if not over.size:
            return math.nan, True
        clear = last + 1 + int(over[0])
        if any(other is not span and other.inside[last + 1 : clear + 1].any() for other in spans):
            return math.nan, True
        return max(0.0, float(span.axis[clear]) - span.end), False
