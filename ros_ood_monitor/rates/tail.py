"""
Rates beyond what was counted: a tail fitted to the peaks of alerts.

References
----------
Hosking and Wallis (1987), Parameter and quantile estimation for the generalized Pareto
distribution, Technometrics 29.

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates.bounds import CONFIDENCE

__all__ = ['Tail']

_LEAST_PEAKS: Final = 10


@dataclass(frozen=True, eq=False)
class Tail:
    """
    A generalised-Pareto tail of the peaks of episodes, for rates beyond what was counted.

    A fitted tail that ends somewhere would promise silence beyond it, which no data can show, so
    the shape is at least 0: an exponential tail is the lightest one.

    Parameters
    ----------
    start : float
        Limit at which the peaks were gathered.
    scale, shape : float
        Of the excesses over it, probability-weighted moments.
    per_hour : float
        Rate of episodes at ``start``.
    peaks : tuple of ndarray of float64
        Peaks of each sequence.
    hours : tuple of float
        Hours of each sequence.

    """

    start: float
    scale: float
    shape: float
    per_hour: float
    peaks: tuple[npt.NDArray[np.float64], ...]
    hours: tuple[float, ...]

    @classmethod
    def fit(
        cls, peaks: Sequence[npt.NDArray[np.float64]], hours: Sequence[float], *, start: float
    ) -> Tail:
        """
        Fit a tail.

        Parameters
        ----------
        peaks : sequence of ndarray of shape (k_i,), float64
            Of each sequence the highest value in every episode over ``start``.
        hours : sequence of float
            Hours of each sequence.
        start : float
            Where the tail starts; at most the lowest peak.

        Returns
        -------
        Tail
            The fit.

        Raises
        ------
        CalibrationError
            If there are fewer than 10 peaks over the start, all of them equal ones included.

        """
        excess = np.concatenate([np.asarray(p, dtype=np.float64) for p in peaks]) - start
        total = float(sum(hours))
        if excess.size < _LEAST_PEAKS or not (excess > 0.0).any() or not total > 0.0:
            msg = (
                f'too few episodes for a tail: expected at least {_LEAST_PEAKS} peaks over '
                f'{start:.4g}, got {int((excess > 0.0).sum())}; record more hours'
            )
            raise CalibrationError(msg)
        scale, shape = _pareto(excess)
        return cls(start, scale, shape, excess.size / total, tuple(peaks), tuple(hours))

    def rate(self, limit: float) -> float:
        """Return the rate of episodes over a limit at or beyond the start, per hour."""
        return self.per_hour * _survival(limit - self.start, self.scale, self.shape)

    def limit(self, per_hour: float) -> float:
        """Return the limit with a rate; the start where that is the rate of the start or more."""
        share = min(1.0, per_hour / self.per_hour)
        if self.shape == 0.0:
            return self.start - self.scale * math.log(share)
        return self.start + self.scale * math.expm1(-self.shape * math.log(share)) / self.shape

    def upper_rate(self, limit: float, *, seed: int, draws: int = 500) -> float:
        """
        Return the upper 95 % bound of the rate over a limit, by a bootstrap of its own.

        Parameters
        ----------
        limit : float
            At or beyond the start.
        seed : int
            Of the draws: all sequences but one, as `bootstrap_upper_rate` draws them, then
            episodes in them.
        draws : int, default 500
            How many.

        Returns
        -------
        float
            Per hour.

        """
        rng = np.random.default_rng(seed)
        rates = np.empty(draws)
        few = max(1, len(self.peaks) - 1)  # n of n would vary by less than sequences do
        for k in range(draws):
            chosen = rng.integers(0, len(self.peaks), few)
            pool = np.concatenate([self.peaks[i] for i in chosen]) - self.start
            hours = sum(self.hours[i] for i in chosen)
            base = rng.gamma(pool.size + 1.0) / hours
            if pool.size < 2:  # no tail to be seen in this draw
                scale, shape = self.scale, self.shape
            else:
                scale, shape = _pareto(rng.choice(pool, pool.size))
            rates[k] = base * _survival(limit - self.start, scale, shape)
        return float(np.quantile(rates, CONFIDENCE))


def _pareto(excess: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return scale and shape by probability-weighted moments; the shape within [0, 0.9]."""
    ordered = np.sort(excess)
    n = ordered.size
    above = 1.0 - (np.arange(1, n + 1) - 0.35) / n  # (n,)
    mean = float(ordered.mean())
    weighted = float((above * ordered).mean())
    spare = mean - 2.0 * weighted
    shape = 2.0 - mean / spare if spare > 0.0 else 0.9
    if shape <= 0.0:
        return max(mean, math.ulp(1.0)), 0.0
    shape = min(shape, 0.9)
    # the mean of the excesses is scale / (1 - shape): it is kept where the shape is bounded
    return max(mean * (1.0 - shape), math.ulp(1.0)), shape


def _survival(excess: float, scale: float, shape: float) -> float:
    excess = max(0.0, excess)
    if shape == 0.0:
        return math.exp(-excess / scale)
    return math.exp(-math.log1p(shape * excess / scale) / shape)
