"""Alert once a running statistic of the scores exceeds its limit, clear at half the way back."""

from __future__ import annotations

from abc import abstractmethod
import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.automaton import Automaton, Verdict
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import State

__all__ = ['AccumulatingLogic', 'reflected']

_HALF: Final = 0.5
_MOST: Final = 0.6
"""Of the way to the limit, what a frame adds at most: over a half, so that two frames suffice."""


def reflected(steps: npt.NDArray[np.float64], start: float = 0.0) -> npt.NDArray[np.float64]:
    """
    Add steps up, never under 0.

    Parameters
    ----------
    steps : ndarray of shape (n,), float64
        To be added one after the other.
    start : float, default 0.0
        What there is before the first, at least 0.

    Returns
    -------
    ndarray of shape (n,), float64
        ``s[t] = max(0, s[t - 1] + steps[t])``.

    """
    total = np.cumsum(steps)  # (n,)
    return total - np.minimum(np.minimum.accumulate(total), -start)


class AccumulatingLogic(Automaton):
    """
    One running statistic with one limit.

    Over half the way from no evidence to the limit the stream is SUSPECT, over the limit it is in
    ALERT, and an alert ends at half the way again. A frame adds three fifths of the way at most,
    and an alert is raised from SUSPECT only: it takes two frames, however odd a single one is.
    The statistic stays at the limit at most, so that a long alert clears as soon as a short one.

    Parameters
    ----------
    limit : float
        The limit, in the statistic's unit.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If the limit is not over the statistic without evidence, or ``stale_after`` not positive.

    """

    SETTINGS: ClassVar[tuple[str, ...]] = ('limit', 'stale_after')
    STATISTIC: ClassVar[str]
    """What the statistic is, in a word or two for people."""

    limit: float = math.nan  # no property: it may change while the logic runs

    def __init__(self, *, limit: float, stale_after: float = 2.0) -> None:
        if not self._empty < limit < math.inf:
            msg = (
                f'limit of the alert logic must be over {self._empty:.4g}, the '
                f'{self.STATISTIC} without evidence, got {limit:g}'
            )
            raise ParameterError(msg)
        self.limit = limit
        super().__init__(stale_after=stale_after)

    @property
    def statistic(self) -> float:
        """Return the running statistic, the latest frame included; at most the limit."""
        return self._statistic

    @property
    def is_empty(self) -> bool:
        """Return whether there is no evidence at all."""
        return self._statistic <= self._empty

    @abstractmethod
    def ceiling(
        self, raw_score: npt.NDArray[np.float64], elapsed: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """
        Return what the statistic is over nowhere, whatever the limit, all frames at once.

        Parameters
        ----------
        raw_score, elapsed : ndarray of shape (n,), float64
            Of a stream without interruption, as `_weigh` takes them, from no evidence on.

        Returns
        -------
        ndarray of shape (n,), float64
            Over the statistic without evidence: what it were with steps and sum unbounded.
            Where it is 0 no evidence is left.

        """

    @property
    def height(self) -> float:
        """Return how far the limit is over the statistic without evidence."""
        return self.limit - self._empty

    @property
    @abstractmethod
    def _empty(self) -> float:
        """Return the statistic without evidence."""

    @abstractmethod
    def _grow(self, raw_score: float, elapsed: float, most: float) -> float:
        """
        Return the statistic after a frame.

        Parameters
        ----------
        raw_score : float
            Finite.
        elapsed : float
            Time since the frame before, in s; 0 where there is none.
        most : float
            The most by which it may grow, positive.

        Returns
        -------
        float
            Over the limit or not.

        """

    def _cut(self, excess: float) -> None:
        """Take off what the statistic has grown over the limit."""

    def _forget(self) -> None:
        self._statistic = self._empty

    def _weigh(self, raw_score: float, stamp: float, elapsed: float) -> tuple[Verdict, str]:
        limit, empty, name = self.limit, self._empty, self.STATISTIC
        half = empty + _HALF * (limit - empty)
        value = self._grow(raw_score, elapsed, _MOST * (limit - empty))
        self._statistic = min(value, limit)
        if value > limit:
            self._cut(value - limit)
        was = self.state.state
        if value <= half:
            return Verdict.CALM, f'{name} back at {value:.4g}'
        if was is State.ALERT:
            reason = '' if value >= limit else f'{name} {value:.4g}, clear at {half:.4g}'
            return Verdict.ALARMING, reason
        if value > limit and was is State.SUSPECT:
            return Verdict.ALARMING, f'{name} over the limit {limit:.4g}'
        return Verdict.SUSPICIOUS, f'{name} {self._statistic:.4g}, alert over {limit:.4g}'
