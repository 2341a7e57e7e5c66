"""
Alert after some frames in a row over one threshold, clear after some in a row under another.

::

             over trigger           trigger_frames in a row
    NORMAL  ------------->  SUSPECT  --------------------->  ALERT
      ^  ^ <-- not over ---'                                   |
      |  '------------- release_frames in a row under release -'
      |
      '-- next frame --  STALE   <-- no frame for stale_after seconds, from any state
      '-- next frame --  FAULT   <-- frames cannot be scored, from any state
"""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Final

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import AlertState, State

__all__ = ['ConsecutiveLogic']

_SILENT: Final = 'without a frame'


class ConsecutiveLogic:
    """
    Two thresholds with a count each.

    A frame after STALE or FAULT starts from NORMAL with nothing counted: what was seen before the
    interruption says nothing about what is seen after it. A gap between image stamps longer than
    ``stale_after``, or a step back in time, is such an interruption too, whether or not anybody
    called `silence` meanwhile.

    Parameters
    ----------
    trigger : float
        A raw_score strictly over it counts toward an alert.
    release : float
        A raw_score strictly under it counts toward the end of an alert; at most ``trigger``.
    trigger_frames : int, default 3
        Consecutive frames that raise an alert; with 1 there is no SUSPECT.
    release_frames : int, default 5
        Consecutive frames that clear it.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    """

    def __init__(
        self,
        *,
        trigger: float,
        release: float,
        trigger_frames: int = 3,
        release_frames: int = 5,
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
        if not stale_after > 0.0:
            msg = f'stale_after must be positive, got {stale_after:g} s'
            raise ParameterError(msg)
        self.trigger = trigger
        self.release = release
        self.trigger_frames = trigger_frames
        self.release_frames = release_frames
        self.stale_after = stale_after
        self.reset()

    def reset(self) -> None:
        """Forget the stream: NORMAL, nothing counted."""
        self._last_stamp = math.nan
        self._silent_for = 0.0  # as told last
        self._has_scored = False
        self._began = math.nan  # stamp of the episode's first frame over the trigger
        self._count = 0
        self._interruption = ''
        self._now = AlertState(State.NORMAL, reason='no frame yet')

    @property
    def threshold(self) -> float:
        """Return the trigger threshold on raw_score."""
        return self.trigger

    @property
    def state(self) -> AlertState:
        """Return the latest state, as the last step returned it."""
        return self._now

    def update(self, raw_score: float, stamp: float) -> AlertState:
        """
        Take the score of a frame.

        Parameters
        ----------
        raw_score : float
            Higher = more anomalous.
        stamp : float
            The image's stamp, in s.

        Returns
        -------
        AlertState
            The state after this frame; ``changed`` where this frame left the previous state.

        Raises
        ------
        ParameterError
            If the score is not finite: no threshold can judge it.

        """
        if not math.isfinite(raw_score):
            msg = f'raw_score must be finite, got {raw_score}'
            raise ParameterError(msg)
        before = self._now.state
        self._note_interruption(stamp)
        is_first, self._has_scored = not self._has_scored, True
        if self._now.state is State.ALERT:
            now = self._while_alert(raw_score, stamp)
        else:
            now = self._before_alert(raw_score, stamp, is_first=is_first)
        if self._interruption:
            # an interruption that nobody declared is no change where it ends where it began
            is_calm = before is State.NORMAL and now.state is State.NORMAL
            reason = f'{now.reason}, {self._interruption}'
            now = self._now = replace(now, changed=now.changed and not is_calm, reason=reason)
            self._interruption = ''
        return now

    def silence(self, seconds: float) -> AlertState:
        """
        Take note that no frame has come for a while.

        Parameters
        ----------
        seconds : float
            Time since the last frame was received, in s.

        Returns
        -------
        AlertState
            STALE once that is at least ``stale_after``, else the state as it was.

        """
        self._silent_for = seconds
        if seconds < self.stale_after or self._now.state is State.STALE:
            return self._stay(self._now.peak, self._now.reason)
        since = self._last_stamp + seconds
        return self._enter(State.STALE, since, reason=f'{seconds:.2f} s {_SILENT}')

    def fault(self, reason: str) -> AlertState:
        """
        Take note that frames cannot be scored.

        Parameters
        ----------
        reason : str
            What failed, for people.

        Returns
        -------
        AlertState
            FAULT; ``changed`` only the first time.

        """
        if self._now.state is State.FAULT:
            return self._stay(self._now.peak, reason)
        return self._enter(State.FAULT, self._last_stamp, reason=reason)

    def _note_interruption(self, stamp: float) -> None:
        was = self._now
        gap = stamp - self._last_stamp  # NaN at the first frame
        silent_for = was.since - self._last_stamp  # where silence was declared
        self._last_stamp = stamp
        if was.state is State.FAULT:
            self._interruption = f'after: {was.reason}'
        elif gap < 0.0:
            self._interruption = f'stamps jumped by {gap:.2f} s'
        elif was.state is State.STALE:
            # image time where there is any; before the first frame what was told since
            lasted = self._silent_for if math.isnan(gap) else max(gap, silent_for)
            self._interruption = f'after {lasted:.2f} s {_SILENT} to score'
        elif gap > self.stale_after:
            self._interruption = f'after {gap:.2f} s {_SILENT}: stamps jumped by {gap:+.2f} s'
        if self._interruption and was.state not in (State.STALE, State.FAULT):
            self._enter(State.STALE, stamp, reason=self._interruption)

    def _before_alert(self, raw_score: float, stamp: float, *, is_first: bool) -> AlertState:
        was = self._now
        if raw_score <= self.trigger:
            if was.state is State.NORMAL:
                return self._stay(math.nan, 'like the training data')
            again = '' if is_first else ' again'
            return self._enter(State.NORMAL, stamp, reason=f'like the training data{again}')
        peak = raw_score
        if was.state is State.SUSPECT:
            self._count += 1
            peak = max(was.peak, raw_score)
        else:
            self._count = 1
            self._began = stamp
        reason = f'{self._count} of {self.trigger_frames} frames over the threshold'
        if self._count >= self.trigger_frames:
            reason = f'{self._count} frames in a row over the threshold {self.trigger:.4g}'
            return self._enter(State.ALERT, stamp, peak, reason)
        if was.state is State.SUSPECT:
            return self._stay(peak, reason)
        return self._enter(State.SUSPECT, stamp, peak, reason, count=self._count)

    def _while_alert(self, raw_score: float, stamp: float) -> AlertState:
        peak = max(self._now.peak, raw_score)
        self._count = self._count + 1 if raw_score < self.release else 0
        if self._count >= self.release_frames:
            reason = f'{self._count} frames in a row under {self.release:.4g}'
            return self._enter(State.NORMAL, stamp, reason=reason)
        if self._count:
            return self._stay(peak, f'{self._count} of {self.release_frames} frames to clear')
        return self._stay(peak, f'unlike the training data for {stamp - self._began:.2f} s')

    def _enter(
        self, state: State, since: float, peak: float = math.nan, reason: str = '', count: int = 0
    ) -> AlertState:
        self._count = count
        self._now = AlertState(state, changed=True, since=since, peak=peak, reason=reason)
        return self._now

    def _stay(self, peak: float, reason: str) -> AlertState:
        was = self._now
        self._now = AlertState(was.state, since=was.since, peak=peak, reason=reason)
        return self._now
