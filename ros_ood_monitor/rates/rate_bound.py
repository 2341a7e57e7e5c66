"""What is known of a rate of false alerts, and whether that establishes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, MISSING
import math
from typing import Any, Final

import numpy as np

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.rates.bounds import bootstrap_upper_rate, upper_rate

__all__ = ['RateBound', 'most_in_alert']

_FEW: Final = 5
"""Sequences under which even the bound over sequences is too narrow, as simulated."""

_MOST_IN_ALERT: Final = 0.01
_ALERT_S: Final = 30.0
"""Length of a false alert that is no sign of a sequence that is odd throughout."""

_ODD: Final = 10.0
"""Times the share of time in ALERT that all sequences may have is what a single one may."""

_LEAST_QUIET: Final = 0.01
_SPLITS: Final = ('sequence', 'block')


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
    least_sequences : int, default 1
        Sequences that a rate of the alert logic takes; fewer establish none.

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
    least_sequences: int = 1

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
            in_alert=min(  # the mean of equal shares may round to more than they are
                sum(s * h for s, h in zip(shares, hours, strict=True)) / sum(hours), max(shares)
            ),
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
        if self.extrapolated or self.odd or self.has_too_few_sequences:
            return False
        return self.bound <= self.per_hour

    @property
    def has_too_few_sequences(self) -> bool:
        """Return whether the alert logic takes more sequences than state it."""
        return self.sequences < self.least_sequences

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
        if self.has_too_few_sequences:
            of += f': TOO FEW SEQUENCES for this alert logic, which takes {self.least_sequences}'
        elif self.has_few_sequences:
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
        card: dict[str, Any] = finite(asdict(self))
        return card

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
