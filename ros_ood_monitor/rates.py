"""
False alerts per hour: what so many alerts in so many hours of sequences allow to say.

An alert is an episode, which may be counted like a rare event where a frame may not: frames of a
video depend on each other. Alerts of one recording may still depend on each other, and days
differ, so a bound for counts stands beside one that resamples whole sequences, and the larger one
is quoted.

References
----------
Garwood (1936), Fiducial limits for the Poisson distribution, Biometrika 28: the bound
``chi2(0.95; 2k + 2) / 2T``. Hosking and Wallis (1987), Parameter and quantile estimation for the
generalized Pareto distribution, Technometrics 29.

"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, MISSING
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import CalibrationError

__all__ = [
    'CONFIDENCE',
    'RateBound',
    'Tail',
    'affordable_episodes',
    'bootstrap_upper_rate',
    'hours_needed',
    'most_in_alert',
    'poisson_upper',
    'upper_rate',
]

CONFIDENCE: Final = 0.95
"""Of every bound that is quoted."""

_FEW: Final = 5
"""Sequences under which even the bound over sequences is too narrow, as simulated."""

_MOST_IN_ALERT: Final = 0.01
_ALERT_S: Final = 30.0
"""Length of a false alert that is no sign of a sequence that is odd throughout."""

_ODD: Final = 10.0
"""Times the share of time in ALERT that all sequences may have is what a single one may."""

_LEAST_QUIET: Final = 0.01
_DRAWS: Final = 2000
_LEAST_PEAKS: Final = 10
_SPLITS: Final = ('sequence', 'block')


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """
    Return the largest mean count that so few events leave possible.

    Parameters
    ----------
    count : int
        Events seen.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        ``chi2(confidence; 2 count + 2) / 2``: the mean at which ``count`` events or fewer come
        with probability ``1 - confidence``.

    Raises
    ------
    CalibrationError
        If the count is negative or the confidence outside (0, 1).

    """
    if count < 0 or not 0.0 < confidence < 1.0:
        msg = (
            f'expected a count of at least 0 and a confidence in (0, 1), got {count}, {confidence}'
        )
        raise CalibrationError(msg)
    # what is further below the count than 40 deviations adds nothing
    first = max(0, count - 40 * math.isqrt(count + 1))
    k = np.arange(first, count + 1)  # (n,)
    log_factorial = math.lgamma(first + 1) + np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    wanted = math.log1p(-confidence)

    def log_at_most(mean: float) -> float:
        terms = k * math.log(mean) - log_factorial  # (n,)
        top = float(terms.max())
        return top + math.log(float(np.exp(terms - top).sum())) - mean

    low = max(0.0, count - 30.0 * math.isqrt(count + 1))
    high = count + 10.0 * math.sqrt(count + 1.0) - math.log1p(-confidence) + 1.0
    while high - low > 1e-13 * high:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if log_at_most(middle) > wanted:
            low = middle
        else:
            high = middle
    return high


def upper_rate(episodes: int, hours: float, confidence: float = CONFIDENCE) -> float:
    """
    Return the upper bound of the rate that goes with so many episodes in so many hours.

    Parameters
    ----------
    episodes : int
        False alerts.
    hours : float
        Hours watched, over 0.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        Per hour: ``chi2(confidence; 2 episodes + 2) / (2 hours)``.

    Raises
    ------
    CalibrationError
        If there are no hours, or a value is outside its range.

    """
    if not (hours > 0.0 and math.isfinite(hours)):
        msg = f'a rate needs hours: expected more than 0, got {hours:g}'
        raise CalibrationError(msg)
    return poisson_upper(episodes, confidence) / hours


def hours_needed(per_hour: float, episodes: int = 0, confidence: float = CONFIDENCE) -> float:
    """
    Return how many hours bound a rate.

    Parameters
    ----------
    per_hour : float
        The rate, over 0.
    episodes : int, default 0
        False alerts in these hours.
    confidence : float, default 0.95
        In (0, 1).

    Returns
    -------
    float
        Hours in which so many episodes put the upper bound at the rate; 3.0 / rate without any.

    Raises
    ------
    CalibrationError
        If a value is outside its range.

    """
    if not (per_hour > 0.0 and math.isfinite(per_hour)):
        msg = f'a rate of false alerts must be over 0 per hour, got {per_hour:g}'
        raise CalibrationError(msg)
    return poisson_upper(episodes, confidence) / per_hour


def most_in_alert(per_hour: float) -> float:
    """
    Return the share of time in ALERT beyond which a count of alerts is no rate.

    Parameters
    ----------
    per_hour : float
        The rate that is asked for, over 0.

    Returns
    -------
    float
        0.01, or what alerts of 30 s at this rate take where that is more: a false alert that does
        not end counts once, however much of the time it takes.

    """
    return max(_MOST_IN_ALERT, per_hour * _ALERT_S / 3600.0)


def affordable_episodes(per_hour: float, hours: float) -> int:
    """
    Return how many false alerts in some hours still bound a rate; -1 where not even none does.

    Parameters
    ----------
    per_hour : float
        The rate, over 0.
    hours : float
        Hours watched.

    Returns
    -------
    int
        The largest k with ``upper_rate(k, hours) <= per_hour``.

    """
    if hours_needed(per_hour) > hours:
        return -1
    # as many as are expected at the rate are too many to bound it
    low, high = 0, max(1, math.ceil(per_hour * hours))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if hours_needed(per_hour, middle) <= hours else (low, middle)
    return low


def bootstrap_upper_rate(
    episodes: Sequence[int],
    hours: Sequence[float],
    *,
    seed: int,
    confidence: float = CONFIDENCE,
    draws: int = _DRAWS,
) -> float:
    """
    Return the upper bound of the rate of sequences like these, which need not be alike.

    Whole sequences are drawn with replacement, and of each draw's k episodes in T hours a rate
    that they leave possible (a gamma variate of shape k + 1, over T): quiet sequences are no proof
    of a rate of 0, which resampling alone would make them.

    Parameters
    ----------
    episodes : sequence of int
        False alerts in each sequence.
    hours : sequence of float
        Hours of each, over 0.
    seed : int
        Of the draws.
    confidence : float, default 0.95
        In (0, 1).
    draws : int, default 2000
        How many.

    Returns
    -------
    float
        Per hour; `upper_rate` where no sequence has an episode, and so none differs from another;
        NaN where there are fewer than two sequences, which tell nothing of a third.

    Raises
    ------
    CalibrationError
        If the lengths differ or a value is outside its range.

    """
    count = np.asarray(episodes, dtype=np.int64)
    time = np.asarray(hours, dtype=np.float64)
    if count.shape != time.shape or count.ndim != 1 or (count < 0).any() or not (time > 0).all():
        msg = 'expected a count of episodes and hours over 0 for every sequence'
        raise CalibrationError(msg)
    if count.size < 2:
        return math.nan
    if not count.any():
        return upper_rate(0, float(time.sum()), confidence)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count.size, (draws, count.size))
    rate = rng.gamma(count[drawn].sum(axis=1) + 1.0) / time[drawn].sum(axis=1)  # (draws,)
    return float(np.quantile(rate, confidence))


@dataclass(frozen=True)
class RateBound:
    """
    What is known of a rate of false alerts, and from how much.

    Parameters
    ----------
    per_hour : float
        False alerts per hour that were asked for, of all cameras of a recording together.
    episodes : int
        False alerts in the hours that state the rate, none of which chose the setting.
    hours : float
        Those hours: time watched and quiet, without ALERT and the refractory time after it.
    sequences : int
        Sequences in them.
    upper95 : float
        Upper 95 % bound from counts alone, per hour: ``chi2(0.95; 2k + 2) / 2T``.
    bootstrap95 : float
        Upper 95 % bound over sequences, per hour; NaN with fewer than two.
    refractory : float
        Alerts so many seconds or less apart are one episode.
    frame_rate_hz : float
        Frame rate of the sequences; NaN where unknown.
    split : {'sequence', 'block'}
        Whether other sequences chose the setting, or other parts of the same ones.
    extrapolated : bool, default False
        Whether the figures are those of a fitted tail and were not counted.
    in_alert : float, default 0.0
        Share of the time watched that was spent in ALERT.
    oddest : str, default ''
        The sequence with the largest such share; empty where there was no alert.
    oddest_in_alert : float, default 0.0
        That share.

    Raises
    ------
    CalibrationError
        If a value is outside its range.

    """

    per_hour: float
    episodes: int
    hours: float
    sequences: int
    upper95: float
    bootstrap95: float = math.nan
    refractory: float = 0.0
    frame_rate_hz: float = math.nan
    split: str = 'sequence'
    extrapolated: bool = False
    in_alert: float = 0.0
    oddest: str = ''
    oddest_in_alert: float = 0.0

    def __post_init__(self) -> None:
        floats = (self.per_hour, self.hours, self.upper95)
        fits = all(math.isfinite(value) and value > 0.0 for value in floats)
        fits = fits and self.episodes >= 0 and self.sequences >= 1 and self.refractory >= 0.0
        fits = fits and 0.0 <= self.in_alert <= self.oddest_in_alert <= 1.0
        if not fits or self.split not in _SPLITS:
            msg = f'rate bound is damaged: a value is outside its range in {self.card()}'
            raise CalibrationError(msg)

    @classmethod
    def measure(
        cls,
        episodes: Sequence[int],
        hours: Sequence[float],
        *,
        per_hour: float,
        refractory: float,
        seed: int,
        frame_rate_hz: float = math.nan,
        split: str = 'sequence',
        in_alert: Mapping[str, float] | None = None,
    ) -> RateBound:
        """
        Bound a rate by what was counted.

        Parameters
        ----------
        episodes : sequence of int
            False alerts of each sequence.
        hours : sequence of float
            Hours watched of each, over 0.
        per_hour, refractory, frame_rate_hz, split
            As in the constructor.
        seed : int
            Of the bootstrap.
        in_alert : mapping of str to float, optional
            Hours in ALERT by name of the sequence, in the same order; none by default.

        Returns
        -------
        RateBound
            The bounds.

        Raises
        ------
        CalibrationError
            If there are no hours, or a value is outside its range.

        """
        spent = [0.0] * len(hours) if in_alert is None else list(in_alert.values())
        # several cameras may be in ALERT at once
        shares = [min(1.0, s / h) if h > 0.0 else 0.0 for s, h in zip(spent, hours, strict=True)]
        # an alert can begin in quiet hours only; a sequence that is all alert keeps its count
        quiet = [
            max(h - s - k * refractory / 3600.0, _LEAST_QUIET * h)
            for k, h, s in zip(episodes, hours, spent, strict=True)
        ]
        oddest = int(np.argmax(shares)) if any(shares) else -1
        return cls(
            per_hour=per_hour,
            episodes=int(sum(episodes)),
            hours=sum(quiet),
            sequences=len(hours),
            upper95=upper_rate(int(sum(episodes)), sum(quiet)),
            bootstrap95=bootstrap_upper_rate(episodes, quiet, seed=seed),
            refractory=refractory,
            frame_rate_hz=frame_rate_hz,
            split=split,
            in_alert=sum(s * h for s, h in zip(shares, hours, strict=True)) / sum(hours),
            oddest='' if oddest < 0 else list(in_alert or {})[oddest],
            oddest_in_alert=0.0 if oddest < 0 else shares[oddest],
        )

    @property
    def bound(self) -> float:
        """Return the rate that is quoted, per hour: the larger one of the bounds there are."""
        return max(self.upper95, 0.0 if math.isnan(self.bootstrap95) else self.bootstrap95)

    @property
    def is_established(self) -> bool:
        """Return whether the rate asked for was measured: counted, and bounded by it."""
        return not (self.extrapolated or self.odd) and self.bound <= self.per_hour

    @property
    def has_few_sequences(self) -> bool:
        """Return whether so few sequences state it that, where days differ, more may come."""
        return self.sequences < _FEW

    @property
    def odd(self) -> str:
        """
        Return what says that the time in ALERT is that of odd hours; empty where nothing does.

        A count of alerts tells nothing of these: one that never ends counts once.
        """
        most = most_in_alert(self.per_hour)
        if self.in_alert <= most and self.oddest_in_alert <= _ODD * most:
            return ''
        return (
            f'{_percent(self.oddest_in_alert)} of sequence {self.oddest} and '
            f'{_percent(self.in_alert)} of all time is in alert, of at most {_percent(most)}'
        )

    def __str__(self) -> str:
        """Return a sentence for people."""
        of = f'{self.sequences} sequence{"" if self.sequences == 1 else "s"}'
        if self.split == 'block':
            of += ' whose other parts chose the setting'
        if self.has_few_sequences:
            of += ': FEW SEQUENCES, where days differ the bound is less sure than that'
        if self.in_alert:
            of += f'; {_percent(self.in_alert)} of the time in alert'
        if self.odd:
            of += f': TOO MUCH, {self.oddest} for {_percent(self.oddest_in_alert)} of its time'
        if self.refractory:
            of += f'; alerts within {self.refractory:g} s count as one'
        if self.extrapolated:
            return (
                f'EXTRAPOLATED, not measured: {self.per_hour:.3g} false alerts/hour asked for '
                f'(95 % bound {self.bound:.3g} from a tail fitted to {self.hours:.3g} h, {of})'
            )
        told = 'false alert' if self.episodes == 1 else 'false alerts'
        return (
            f'at most {self.bound:.3g} false alerts/hour with 95 % confidence '
            f'({self.episodes} {told} in {self.hours:.3g} h, {of}; '
            f'asked for: {self.per_hour:.3g})'
        )

    def card(self) -> dict[str, Any]:
        """Return all fields as plain values, None for NaN."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> RateBound:
        """
        Read what `card` gave; keys that this version does not know are ignored.

        Parameters
        ----------
        card : mapping
            By field name.

        Returns
        -------
        RateBound
            The stored values.

        Raises
        ------
        CalibrationError
            If a field is missing or of another type.

        """
        kinds = {'int': int, 'float': float, 'str': str, 'bool': bool}
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.default is not MISSING and field.name not in card:
                continue  # older than the field
            try:
                value = card[field.name]
                values[field.name] = math.nan if value is None else kinds[str(field.type)](value)
            except (KeyError, TypeError, ValueError) as error:
                msg = f'rate bound is damaged: no usable {field.name!r} in {dict(card)}'
                raise CalibrationError(msg) from error
        return cls(**values)


def _percent(share: float) -> str:
    return f'{100.0 * share:.3g} %'


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
            Of the draws: sequences, then episodes in them.
        draws : int, default 500
            How many.

        Returns
        -------
        float
            Per hour.

        """
        rng = np.random.default_rng(seed)
        rates = np.empty(draws)
        for k in range(draws):
            chosen = rng.integers(0, len(self.peaks), len(self.peaks))
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
