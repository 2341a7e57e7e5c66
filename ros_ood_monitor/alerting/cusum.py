"""Alert once the excess over what is usual has added up."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.accumulating import AccumulatingLogic, reflected
from ros_ood_monitor.errors import ParameterError

__all__ = ['CusumLogic']

_LONGEST: Final = 0.5
"""Time for which a score stands at most, in s: what a gap hides is not known."""


class CusumLogic(AccumulatingLogic):
    """
    One-sided cumulated sum of the standardised score, in image time.

    With z the raw_score in held-out standard deviations over the held-out mean, the sum grows by
    ``(z - reference) * elapsed`` a frame and is 0 at least. A score stands for the time since the
    frame before, half a second at most, so that the sum means the same at any frame rate from 2
    Hz on. Best for a lasting shift of about ``2 * reference``; an alert of any length clears
    ``limit / (2 * reference)`` seconds after the scores are back at their mean.

    Parameters
    ----------
    limit : float
        On the sum, in standard deviations times s.
    mean, std : float
        Mean and standard deviation of held-out in-distribution scores.
    reference : float, default 0.5
        What is taken off every score, in standard deviations: half of the least shift that
        matters.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    References
    ----------
    Page (1954), Continuous Inspection Schemes.

    """

    SETTINGS: ClassVar[tuple[str, ...]] = (*AccumulatingLogic.SETTINGS, 'reference')
    STATISTIC: ClassVar[str] = 'added excess'

    def __init__(
        self,
        *,
        limit: float,
        mean: float,
        std: float,
        reference: float = 0.5,
        stale_after: float = 2.0,
    ) -> None:
        if not 0.0 < std < math.inf:
            msg = (
                f'cusum needs held-out scores that differ, got a standard deviation of {std:g}; '
                'take another alert logic, such as consecutive or martingale'
            )
            raise ParameterError(msg)
        if not 0.0 < reference < math.inf:
            msg = f'reference must be positive, got {reference:g} standard deviations'
            raise ParameterError(msg)
        self.mean = mean
        self.std = std
        self.reference = reference
        super().__init__(limit=limit, stale_after=stale_after)

    @property
    def threshold(self) -> float:
        """Return the raw_score over which a frame adds to the sum."""
        return self.mean + self.reference * self.std

    def ceiling(
        self, raw_score: npt.NDArray[np.float64], elapsed: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the sum without bounds; see `AccumulatingLogic.ceiling`."""
        excess = (raw_score - self.mean) / self.std - self.reference  # (n,)
        return reflected(excess * np.minimum(elapsed, _LONGEST))

    @property
    def _empty(self) -> float:
        return 0.0

    def _grow(self, raw_score: float, elapsed: float, most: float) -> float:
        excess = (raw_score - self.mean) / self.std - self.reference
        return max(0.0, self._statistic + min(excess * min(elapsed, _LONGEST), most))
