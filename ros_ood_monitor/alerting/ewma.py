"""Alert once the smoothed score exceeds a limit."""

from __future__ import annotations

import math
from typing import ClassVar

from ros_ood_monitor.alerting.accumulating import AccumulatingLogic
from ros_ood_monitor.errors import ParameterError

__all__ = ['EwmaLogic']


class EwmaLogic(AccumulatingLogic):
    """
    Exponentially weighted moving average of raw_score, in image time.

    A score that comes ``elapsed`` after the one before weighs
    ``1 - exp(-elapsed / time_constant)``, so that the average means the same at any frame rate
    and with frames missing. It starts at the mean of held-out scores: its variance grows from 0
    to that of long running, and the first frames are no likelier to alert than later ones. It is
    that mean at least: an alert does not wait for a very normal past to fade.

    Parameters
    ----------
    limit : float
        On the average, in the unit of raw_score; over ``mean``.
    mean : float
        Mean of held-out in-distribution scores.
    time_constant : float, default 1.0
        Time over which it averages, in s.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    References
    ----------
    Roberts (1959), Control Chart Tests Based on Geometric Moving Averages.

    """

    SETTINGS: ClassVar[tuple[str, ...]] = (*AccumulatingLogic.SETTINGS, 'time_constant')
    STATISTIC: ClassVar[str] = 'average score'

    def __init__(
        self,
        *,
        limit: float,
        mean: float,
        time_constant: float = 1.0,
        stale_after: float = 2.0,
    ) -> None:
        if not 0.0 < time_constant < math.inf:
            msg = f'time_constant must be positive, got {time_constant:g} s'
            raise ParameterError(msg)
        self.mean = mean
        self.time_constant = time_constant
        super().__init__(limit=limit, stale_after=stale_after)

    @property
    def threshold(self) -> float:
        """Return the limit: only a raw_score over it can carry the average over it."""
        return self.limit

    @property
    def _empty(self) -> float:
        return self.mean

    def _grow(self, raw_score: float, elapsed: float, most: float) -> float:
        weight = -math.expm1(-elapsed / self.time_constant)
        step = weight * (raw_score - self._statistic)
        return max(self.mean, self._statistic + min(step, most))
