"""The thresholds and counts of the alert logic, and what is known of its false alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import math
from typing import Any

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import RateBound

__all__ = ['OperatingPoint']


@dataclass(frozen=True)
class OperatingPoint:
    """
    Thresholds and counts of the alert logic, with what is known about their false alerts per hour.

    Parameters
    ----------
    trigger : float
        A frame with a raw_score over it counts toward an alert.
    release : float
        A frame with a raw_score under it counts toward the end of an alert; at most ``trigger``.
    trigger_frames, release_frames : int
        Consecutive frames that start and end an alert.
    alpha : float
        Share of held-out frames that the trigger threshold was set for.
    frame_rate_hz : float
        Frame rate of the held-out data; NaN where it is unknown.
    rate_established : bool
        True only where a rate of false alerts per hour was measured on held-out sequences.
    logic : str
        Name of the alert logic; see `ros_ood_monitor.alerting.LOGICS`.
    settings : mapping of str to float
        The logic's other settings by name, its limit among them where that is no trigger.
    refractory : float
        An alert that begins so soon after the last one ended is the same episode, in s.
    rate : RateBound or None
        What is known of the false alerts per hour; None where nothing was measured.

    Raises
    ------
    CalibrationError
        If the values contradict each other.

    """

    trigger: float
    release: float
    trigger_frames: int = 3
    release_frames: int = 5
    alpha: float = 0.01
    frame_rate_hz: float = math.nan
    rate_established: bool = False
    logic: str = 'consecutive'
    settings: Mapping[str, float] = field(default_factory=dict)
    refractory: float = 0.0
    rate: RateBound | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.trigger) and math.isfinite(self.release)):
            msg = f'thresholds must be finite, got trigger {self.trigger}, release {self.release}'
            raise CalibrationError(msg)
        if self.release > self.trigger:
            msg = (
                'release threshold must be at most the trigger threshold, '
                f'got release {self.release:g}, trigger {self.trigger:g}'
            )
            raise CalibrationError(msg)
        if self.trigger_frames < 1 or self.release_frames < 1:
            got = f'{self.trigger_frames} and {self.release_frames}'
            msg = f'trigger_frames and release_frames must be at least 1, got {got}'
            raise CalibrationError(msg)
        bad = sorted(name for name, value in self.settings.items() if not math.isfinite(value))
        if bad:
            msg = f'settings of the alert logic must be finite, got {self.settings!r}'
            raise CalibrationError(msg)
        if not 0.0 <= self.refractory < math.inf:
            msg = f'refractory must be 0 s or more, got {self.refractory:g} s'
            raise CalibrationError(msg)
        if self.rate_established and not (self.rate and self.rate.is_established):
            msg = f'a rate is established by a bound within it only, got {self.rate}'
            raise CalibrationError(msg)

    @property
    def limit(self) -> float:
        """Return the number that calibration chooses; NaN where the logic takes its default."""
        if self.logic == 'consecutive':
            return self.trigger
        return self.settings.get('limit', math.nan)

    @property
    def rate_text(self) -> str:
        """Return what is known of the rate of false alerts, for people."""
        return 'not established' if self.rate is None else str(self.rate)

    @property
    def rate_card(self) -> dict[str, Any]:
        """Return what is known of the rate of false alerts, plain values for reports."""
        return {
            'rate_established': self.rate_established,
            'rate': None if self.rate is None else self.rate.card(),
        }

    def at_limit(self, limit: float) -> OperatingPoint:
        """
        Return this operating point with another `limit`.

        Parameters
        ----------
        limit : float
            On the running statistic of the logic. For ``consecutive`` that is the trigger, and a
            release over it comes down with it.

        Returns
        -------
        OperatingPoint
            Otherwise equal.

        Raises
        ------
        CalibrationError
            If the limit is not finite.

        """
        if self.logic == 'consecutive':
            return replace(self, trigger=limit, release=min(self.release, limit))
        return replace(self, settings={**self.settings, 'limit': limit})
