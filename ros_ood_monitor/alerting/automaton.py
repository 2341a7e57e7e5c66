"""
The states of a camera and the ways between them; what counts as evidence is the logics' matter.

::

             SUSPICIOUS              ALARMING
    NORMAL  ------------>  SUSPECT  ---------->  ALERT
      ^  ^ <-- CALM -------'                       |
      |  '---------------- CALM -------------------'
      |
      '-- next frame --  STALE   <-- no frame for stale_after seconds, from any state
      '-- next frame --  FAULT   <-- frames cannot be scored, from any state
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from enum import Enum
import math
from typing import ClassVar

from ros_ood_monitor.alerting.interruptions import Interruptions, SILENT
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import AlertState, LIKE_TRAINING, State

__all__ = ['Automaton', 'Verdict']


class Verdict(Enum):
    """What the evidence so far says, the latest frame included."""

    CALM = 0
    SUSPICIOUS = 1
    ALARMING = 2


class Automaton(ABC):
    """
    An alert logic but for its evidence.

    A frame after STALE or FAULT starts from NORMAL with no evidence: what was seen before the
    interruption says nothing about what is seen after it. A gap between image stamps longer than
    ``stale_after``, or a step back in time, is such an interruption too, whether or not anybody
    called `silence` meanwhile; a frame that is only out of order, see `ImageTime`, is none.

    Parameters
    ----------
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If it is not positive.

    """

    SETTINGS: ClassVar[tuple[str, ...]] = ('stale_after',)
    """Attributes that may change while it runs."""

    def __init__(self, *, stale_after: float = 2.0) -> None:
        if not stale_after > 0.0:
            msg = f'stale_after must be positive, got {stale_after:g} s'
            raise ParameterError(msg)
        self.stale_after = stale_after
        self.reset()

    @property
    @abstractmethod
    def threshold(self) -> float:
        """Return the threshold on raw_score over which a frame counts toward an alert."""

    @property
    @abstractmethod
    def limit(self) -> float:
        """Return the one number over which the running statistic raises an alert."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop all evidence."""

    @abstractmethod
    def _weigh(self, raw_score: float, stamp: float, elapsed: float) -> tuple[Verdict, str]:
        """
        Add a frame to the evidence; ``self.state`` is still the one before this frame.

        Parameters
        ----------
        raw_score : float
            Finite.
        stamp : float
            The image's stamp, in s.
        elapsed : float
            Time since the frame before, in s; 0 for the first one after a start or interruption.

        Returns
        -------
        verdict : Verdict
            ALARMING raises an alert, CALM ends one.
        reason : str
            For people; empty where there is none beyond the verdict.

        """

    def reset(self) -> None:
        """Forget the stream: NORMAL, nothing counted."""
        self._interruptions = Interruptions()
        self._has_scored = False
        self._began = math.nan  # stamp of the episode's first frame
        self._now = AlertState(State.NORMAL, reason='no frame yet')
        self._forget()

    def adopt(self, other: Automaton) -> None:
        """
        Take over the settings of another logic of the same kind; state and evidence are kept.

        Parameters
        ----------
        other : Automaton
            Of the same class.

        """
        # plain attributes, each read once a frame: a frame between two of them sees one change
        # early
        for name in self.SETTINGS:
            setattr(self, name, getattr(other, name))

    @property
    def state(self) -> AlertState:
        """Return the state as the last update, silence or fault returned it."""
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
        gap = self._interruptions.judged(stamp, self._now, self.stale_after)
        if gap.interruption and before not in (State.STALE, State.FAULT):
            self._interrupt(State.STALE, stamp, gap.interruption)
        stamp = gap.now
        is_first, self._has_scored = not self._has_scored, True
        verdict, reason = self._weigh(raw_score, stamp, gap.elapsed)
        if self._now.state is State.ALERT:
            now = self._while_alert(raw_score, stamp, verdict, reason)
        else:
            now = self._before_alert(raw_score, stamp, verdict, reason, is_first=is_first)
        if gap.interruption:
            # an interruption that nobody declared is no change where it ends where it began
            is_calm = before is State.NORMAL and now.state is State.NORMAL
            reason = f'{now.reason}, {gap.interruption}'
            now = self._now = replace(now, changed=now.changed and not is_calm, reason=reason)
        return now

    def skip(self, stamp: float, reason: str) -> AlertState:
        """
        Take note of a frame that says nothing about the scene.

        Parameters
        ----------
        stamp : float
            The image's stamp, in s.
        reason : str
            Why it is not judged, for people.

        Returns
        -------
        AlertState
            The state as it was. ``stale_after`` without a frame that is judged ends it with the
            next one that is.

        """
        self._interruptions.unjudged(stamp, reason)
        return replace(self._now, changed=False, reason=f'not judged: {reason}')

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
        now = self._interruptions.silent(seconds)
        if seconds < self.stale_after or self._now.state is State.STALE:
            return self._stay(self._now.peak, self._now.reason)
        return self._interrupt(State.STALE, now, f'{seconds:.2f} s {SILENT}')

    def fault(self, reason: str, stamp: float | None = None) -> AlertState:
        """
        Take note that frames cannot be scored.

        Parameters
        ----------
        reason : str
            What failed, for people.
        stamp : float, optional
            Stamp of the image that showed it, in s; where none did, it is as of the last frame.

        Returns
        -------
        AlertState
            FAULT; ``changed`` only the first time.

        """
        if stamp is not None:
            self._interruptions.unjudged(stamp, reason)
        if self._now.state is State.FAULT:
            return self._stay(self._now.peak, reason)
        return self._interrupt(State.FAULT, self._interruptions.now, reason)

    def _before_alert(
        self, raw_score: float, stamp: float, verdict: Verdict, reason: str, *, is_first: bool
    ) -> AlertState:
        was = self._now
        if verdict is Verdict.CALM:
            if was.state is State.NORMAL:
                return self._stay(math.nan, LIKE_TRAINING)
            again = '' if is_first else ' again'
            return self._enter(State.NORMAL, stamp, reason=f'{LIKE_TRAINING}{again}')
        peak = raw_score
        if was.state is State.SUSPECT:
            peak = max(was.peak, raw_score)
        else:
            self._began = stamp
        if verdict is Verdict.ALARMING:
            return self._enter(State.ALERT, stamp, peak, reason)
        if was.state is State.SUSPECT:
            return self._stay(peak, reason)
        return self._enter(State.SUSPECT, stamp, peak, reason)

    def _while_alert(
        self, raw_score: float, stamp: float, verdict: Verdict, reason: str
    ) -> AlertState:
        if verdict is Verdict.CALM:
            return self._enter(State.NORMAL, stamp, reason=reason)
        lasting = f'unlike the training data for {stamp - self._began:.2f} s'
        return self._stay(max(self._now.peak, raw_score), reason or lasting)

    def _interrupt(self, state: State, since: float, reason: str) -> AlertState:
        self._forget()
        return self._enter(state, since, reason=reason)

    def _enter(
        self, state: State, since: float, peak: float = math.nan, reason: str = ''
    ) -> AlertState:
        self._now = AlertState(state, changed=True, since=since, peak=peak, reason=reason)
        return self._now

    def _stay(self, peak: float, reason: str) -> AlertState:
        was = self._now
        self._now = AlertState(was.state, since=was.since, peak=peak, reason=reason)
        return self._now
