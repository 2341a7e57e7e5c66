"""What came of a calibration for a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.rates import RateBound

__all__ = ['RateCalibration']


@dataclass(frozen=True)
class RateCalibration:
    """
    What came of a calibration for a rate.

    Parameters
    ----------
    point : OperatingPoint
        With its limit, and the bound as its ``rate``.
    bound : RateBound
        What the stating hours say.
    chosen_on : RateBound
        The same figures of the hours that chose the limit. They flatter it, and state nothing.
    decided_by : {'alerts', 'tail', 'margin', 'least'}
        What the limit comes from; see `Part.choose_limit`.
    limit_before : float
        The limit that the operating point had for this logic; NaN where it had none.
    choosing : mapping of str to tuple of (int, float)
        For each sequence that chose: its alerts at the limit, and the limit from which on it has
        none, the highest first.
    doubtful : tuple of str, default ()
        Choosing sequences that only each other show to be normal: without them the limit would
        be beyond hearing.

    """

    point: OperatingPoint
    bound: RateBound
    chosen_on: RateBound
    decided_by: str
    limit_before: float
    choosing: Mapping[str, tuple[int, float]]
    doubtful: tuple[str, ...] = ()

    def card(self) -> dict[str, Any]:
        """Return what a manifest tells of it, plain values."""
        point, chosen_on = self.point, self.chosen_on.card()
        limits = {'trigger': point.trigger, 'release': point.release}
        return {
            'logic': point.logic,
            **(limits if point.logic == 'consecutive' else {}),
            'settings': dict(point.settings),
            'established': point.rate_established,
            'statement': str(self.bound),
            'rate': self.bound.card(),
            'limit_before': finite(self.limit_before),
            'chosen_on': {
                'decided_by': self.decided_by,
                **{key: chosen_on[key] for key in ('episodes', 'hours', 'sequences', 'in_alert')},
                'alerts': {name: episodes for name, (episodes, _) in self.choosing.items()},
                'quiet_from': {name: quiet for name, (_, quiet) in self.choosing.items()},
                'doubtful': list(self.doubtful),
            },
        }
