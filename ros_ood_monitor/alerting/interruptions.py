"""What lies between two frames that are judged: time, or an interruption that makes all new."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ros_ood_monitor.image_time import ImageTime
from ros_ood_monitor.records import AlertState, State

__all__ = ['SILENT', 'Gap', 'Interruptions']

SILENT: Final = 'without a frame'
"""What a silence is, for people."""


class Gap(NamedTuple):
    """What lies before a frame that is judged."""

    now: float
    """Image time of the frame, in s."""

    elapsed: float
    """Time since the frame before, in s; 0 where it says nothing about this one."""

    interruption: str
    """For people; empty where there was none."""


class Interruptions:
    """
    The frames of one camera in image time, those that are judged and those that are not.

    A frame that is not judged is no silence, but says nothing about the scene either: the evidence
    is as old as the last one that was.
    """

    def __init__(self) -> None:
        self._judged = ImageTime()
        self._seen = ImageTime()  # of all frames
        self._longest = 0.0  # time without any frame since one was judged, in s
        self._unjudged = ''  # why the frame before was not
        self._silent_for = 0.0  # as told last

    @property
    def now(self) -> float:
        """Return the image time of the newest frame, judged or not, in s; NaN before any."""
        return self._seen.now

    def unjudged(self, stamp: float, reason: str) -> None:
        """
        Take a frame that is not judged.

        Parameters
        ----------
        stamp : float
            The image's stamp, in s.
        reason : str
            Why, for people.

        """
        self._longest = max(self._longest, self._seen.step(stamp))
        self._unjudged = reason

    def silent(self, seconds: float) -> float:
        """
        Take note that no frame has come for a while.

        Parameters
        ----------
        seconds : float
            Time since the last frame was received, in s.

        Returns
        -------
        float
            Image time now, in s.

        """
        self._silent_for = seconds
        return self.now + seconds

    def judged(self, stamp: float, was: AlertState, stale_after: float) -> Gap:
        """
        Take a frame that is judged.

        Parameters
        ----------
        stamp : float
            The image's stamp, in s.
        was : AlertState
            The state before it.
        stale_after : float
            Time without a frame to judge that is an interruption, in s.

        Returns
        -------
        Gap
            What lies before it.

        """
        silent_for = was.since - self._judged.now  # where silence was declared
        gap = self._judged.step(stamp)  # NaN at the first frame
        without_any = max(self._longest, self._seen.step(stamp))
        unjudged, self._longest, self._unjudged = self._unjudged, 0.0, ''
        text = ''
        if was.state is State.FAULT:
            text = f'after: {was.reason}'
        elif gap < 0.0:
            text = f'stamps jumped by {gap:.2f} s'
        elif was.state is State.STALE:
            # image time where there is any; before the first frame what was told since
            lasted = self._silent_for if math.isnan(gap) else max(gap, silent_for)
            text = f'after {lasted:.2f} s {SILENT} to score'
        elif gap > stale_after and unjudged and without_any <= stale_after:
            text = f'after {gap:.2f} s without a frame to judge (last: {unjudged})'
        elif gap > stale_after:
            text = f'after {gap:.2f} s {SILENT}: stamps jumped by {gap:+.2f} s'
        elapsed = 0.0 if text or math.isnan(gap) else gap
        return Gap(self._judged.now, elapsed, text)
