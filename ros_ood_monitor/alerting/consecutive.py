"""
Alert after some frames in a row over one threshold, clear after some in a row under another.

::

             over trigger           trigger_frames in a row
    NORMAL  ------------->  SUSPECT  --------------------->  ALERT
      ^  ^ <-- not over ---'                                   |
      |  '------------- release_frames in a row under release -'
"""

from __future__ import annotations

import math
from typing import ClassVar

from ros_ood_monitor.alerting.automaton import Automaton, Verdict
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import State

__all__ = ['ConsecutiveLogic']


class ConsecutiveLogic(Automaton):
    """
    Two thresholds with a count each, and with a duration each where one is given.

    Counts mean less time at a higher frame rate, durations the same. Where both are given both
    must be reached, so that ``trigger_frames=2, trigger_seconds=0.5`` asks for half a second that
    is not a single frame's.

    Parameters
    ----------
    trigger : float
        A raw_score strictly over it counts toward an alert.
    release : float
        A raw_score strictly under it counts toward the end of an alert; at most ``trigger``.
    trigger_frames : int, default 3
        Consecutive frames that raise an alert; with 1, and no duration, there is no SUSPECT.
    release_frames : int, default 5
        Consecutive frames that clear it.
    trigger_seconds, release_seconds : float, default 0.0
        Time from the first of those frames to the last one, at least, in s.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    """

    SETTINGS: ClassVar[tuple[str, ...]] = (
        'trigger',
        'release',
        'trigger_frames',
        'release_frames',
        'trigger_seconds',
        'release_seconds',
        'stale_after',
    )

    def __init__(
        self,
        *,
        trigger: float,
        release: float,
        trigger_frames: int = 3,
        release_frames: int = 5,
        trigger_seconds: float = 0.0,
        release_seconds: float = 0.0,
        stale_after: float = 2.0,
    ) -> None:
        if not (math.isfinite(trigger) and math.isfinite(release)) or release > trigger:
            msg = (
                'alert thresholds must be finite with release at most trigger, '
                f'got trigger {trigger:g}, release {release:g}'
            )
            raise ParameterError(msg)
        if trigger_frames < 1 or release_frames < 1:
            msg = (
                'trigger_frames and release_frames must be at least 1, '
                f'got {trigger_frames} and {release_frames}'
            )
            raise ParameterError(msg)
        if not (0.0 <= trigger_seconds < math.inf and 0.0 <= release_seconds < math.inf):
            msg = (
                'trigger_seconds and release_seconds must be 0 or more, '
                f'got {trigger_seconds:g} and {release_seconds:g} s'
            )
            raise ParameterError(msg)
        self.trigger = trigger
        self.release = release
        self.trigger_frames = trigger_frames
        self.release_frames = release_frames
        self.trigger_seconds = trigger_seconds
        self.release_seconds = release_seconds
        super().__init__(stale_after=stale_after)

    @property
    def threshold(self) -> float:
        """Return the trigger threshold on raw_score."""
        return self.trigger

    @property
    def limit(self) -> float:
        """Return the trigger: the statistic is the raw_score itself."""
        return self.trigger

    def _forget(self) -> None:
        self._count = 0
        self._first = math.nan  # stamp of the first frame counted

    def _weigh(self, raw_score: float, stamp: float, elapsed: float) -> tuple[Verdict, str]:
        if self.state.state is State.ALERT:
            return self._toward_release(raw_score, stamp)
        return self._toward_alert(raw_score, stamp)

    def _toward_alert(self, raw_score: float, stamp: float) -> tuple[Verdict, str]:
        if raw_score <= self.trigger:
            self._forget()
            return Verdict.CALM, ''
        lasted = self._add(stamp)
        if self._count >= self.trigger_frames and lasted >= self.trigger_seconds:
            reason = f'{self._count} frames in a row over the threshold {self.trigger:.4g}'
            self._forget()
            return Verdict.ALARMING, reason
        if self._count < self.trigger_frames:
            reason = f'{self._count} of {self.trigger_frames} frames over the threshold'
        else:
            reason = f'{lasted:.2f} of {self.trigger_seconds:.2f} s over the threshold'
        return Verdict.SUSPICIOUS, reason

    def _toward_release(self, raw_score: float, stamp: float) -> tuple[Verdict, str]:
        if raw_score >= self.release:
            self._forget()
            return Verdict.ALARMING, ''
        lasted = self._add(stamp)
        if self._count >= self.release_frames and lasted >= self.release_seconds:
            reason = f'{self._count} frames in a row under {self.release:.4g}'
            self._forget()
            return Verdict.CALM, reason
        if self._count < self.release_frames:
            return Verdict.SUSPICIOUS, f'{self._count} of {self.release_frames} frames to clear'
        return Verdict.SUSPICIOUS, f'{lasted:.2f} of {self.release_seconds:.2f} s to clear'

    def _add(self, stamp: float) -> float:
        """Count a frame; return the time since the first one counted, in s."""
        if not self._count:
            self._first = stamp
        self._count += 1
        return stamp - self._first
