"""Alert once the smoothed score exceeds a limit."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.accumulating import AccumulatingLogic, reflected
from ros_ood_monitor.errors import ParameterError

__all__ = ['EwmaLogic']

_FADED: Final = 300.0
"""Time constants at once: what was before has faded to e^-300, which a float64 still holds."""


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

    def ceiling(
        self, raw_score: npt.NDArray[np.float64], elapsed: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the average without bounds; see `AccumulatingLogic.ceiling`."""
        found = np.empty(len(raw_score))  # (n,)
        # an average that fades is a sum that does not, of steps that grow instead
        age = np.minimum(elapsed / self.time_constant, _FADED)  # (n,)
        block = np.floor(np.cumsum(age) / _FADED)  # (n,)
        ends = [*(np.flatnonzero(np.diff(block)) + 1).tolist(), len(raw_score)]
        first, last = 0, 0.0
        for end in ends:
            rows = slice(first, end)
            growth = np.exp(np.cumsum(age[rows]))  # (k,)
            step = -np.expm1(-age[rows]) * (raw_score[rows] - self.mean)
            found[rows] = reflected(step * growth, last) / growth
            first, last = end, float(found[end - 1]) if end else 0.0
        return found

    @property
    def _empty(self) -> float:
        return self.mean

    def _grow(self, raw_score: float, elapsed: float, most: float) -> float:
        weight = -math.expm1(-elapsed / self.time_constant)
        step = weight * (raw_score - self._statistic)
        return max(self.mean, self._statistic + min(step, most))
